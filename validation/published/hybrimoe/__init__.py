"""HybriMoE (arXiv 2504.05897): published hit rates of its cache, and our runs of it."""
