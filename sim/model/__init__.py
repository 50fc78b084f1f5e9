"""What a model is, and the files that it is read from."""
