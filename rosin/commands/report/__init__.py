"""``rosin report``."""
