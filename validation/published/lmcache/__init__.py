"""Compare LMCache's tables with the simulator, and tables of others on the same questions."""
