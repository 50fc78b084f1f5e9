"""``rosin kv-plan``."""
