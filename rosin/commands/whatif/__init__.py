"""``rosin whatif``."""
