"""What-if studies: many plans, kept as they finish."""
