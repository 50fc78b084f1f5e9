"""The tests of Rosin, in the folders of the packages they test."""
