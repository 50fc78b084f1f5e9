"""The local page of ``rosin serve``. It is no package ``rosin.serve``: that name is a function."""
