"""``rosin validate``."""
