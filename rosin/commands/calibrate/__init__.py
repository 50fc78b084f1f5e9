"""``rosin calibrate``."""
