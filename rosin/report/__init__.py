"""Results as people and programs read them: tables, figures, pages of HTML, and JSON documents."""

__all__: list[str] = []
