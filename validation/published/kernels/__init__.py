"""Grouped experts on data-centre GPUs:

NVIDIA's kernel tables against the prices of a layer's experts in one call.
"""
