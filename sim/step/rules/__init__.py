"""Compiled rules by which policies decide: those of dispatches, placements and predictors."""
