"""``rosin serve``."""
