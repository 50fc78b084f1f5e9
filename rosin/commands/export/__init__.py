"""``rosin export``."""
