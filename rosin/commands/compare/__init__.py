"""``rosin compare``."""
