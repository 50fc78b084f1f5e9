"""One forward pass after another: policies decide, the lowering emits tasks, metrics sum up."""
