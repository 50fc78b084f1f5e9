"""What to do: bounds, search, what-if and export."""

__all__: list[str] = []
