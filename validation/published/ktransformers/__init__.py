"""KTransformers' grid of expert placements: its published figures, and our runs of it."""
