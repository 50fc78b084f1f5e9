"""``rosin cache-study``."""
