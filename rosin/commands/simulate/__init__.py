"""``rosin simulate``."""
