"""``rosin models``."""
