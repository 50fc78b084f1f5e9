"""Plans for a runtime: the best that its own arguments can say."""
