"""Plans that a runtime accepts: the best that its own arguments can say."""
