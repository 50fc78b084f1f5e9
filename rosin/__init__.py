"""The front door: the public API, the command line and the reports."""

from rosin.version import __version__

__all__ = ["__version__"]
