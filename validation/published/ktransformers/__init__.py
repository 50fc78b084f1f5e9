"""KTransformers' grid of expert placements: its figures as published, and the runs that are set
against them.
"""
