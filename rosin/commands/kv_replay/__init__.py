"""``rosin kv-replay``."""
