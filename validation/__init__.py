"""Checks of the simulator's truth: measuring, running on torch, comparing, published tables."""

__all__: list[str] = []
