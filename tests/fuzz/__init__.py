"""Random files for every parser."""
