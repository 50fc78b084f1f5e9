"""``rosin measure``."""
