"""HybriMoE (arXiv 2504.05897): the hit rates of its cache as published, and the runs that are set
against them.
"""
