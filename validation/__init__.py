"""Whether it is true: measuring, running on torch, comparing, published tables."""

__all__: list[str] = []
