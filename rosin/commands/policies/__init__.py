"""``rosin policies``."""
