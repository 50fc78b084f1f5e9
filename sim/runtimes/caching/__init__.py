"""Experts cached on a GPU by programs that keep them in host memory: how often they miss, and what that costs."""
