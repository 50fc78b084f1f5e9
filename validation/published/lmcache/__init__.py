"""LMCache's tables against the simulator, with those of others on the same questions."""
