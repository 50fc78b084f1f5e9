"""The version, in a module that imports nothing, so that packaging reads it without running us."""

__version__ = "0.1.0"
