"""``rosin machines``."""
