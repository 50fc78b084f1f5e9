"""The commands, a folder each: the command, its JSON document, its page, its figures."""
