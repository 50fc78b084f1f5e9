"""``rosin plan``."""
