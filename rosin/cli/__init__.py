"""The command line: one module a command, and the conventions that all of them share."""

__all__: list[str] = []
