"""``rosin reproduce``."""
