"""Programs that people run models with: what their arguments mean, how they run a layer, and what that costs."""

__all__: list[str] = []
