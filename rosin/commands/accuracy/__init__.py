"""``rosin accuracy``."""
