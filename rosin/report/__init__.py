"""Results as people read them: tables for the terminal, and later figures and pages."""

__all__: list[str] = []
