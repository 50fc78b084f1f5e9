"""Run programs for real that people run models with."""
