"""``rosin routing``."""
