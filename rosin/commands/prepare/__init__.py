"""``rosin prepare``."""
