"""Writing a plan in the words of real programs."""
