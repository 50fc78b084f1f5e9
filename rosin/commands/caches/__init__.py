"""``rosin caches``."""
