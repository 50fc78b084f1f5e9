"""Grouped experts on data-centre GPUs: NVIDIA's kernel tables, and prices of a layer's experts.

A price is for one call.
"""
