"""``rosin choose``."""
