"""What policies decide by, compiled: the rules of dispatches, placements and predictors."""
