"""Programs that people run models with, run for real."""
