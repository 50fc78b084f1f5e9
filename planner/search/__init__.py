"""Looking for the best plan."""
