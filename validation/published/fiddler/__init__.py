"""Fiddler (arXiv 2402.07033): its figures as published, and the runs that are set against them."""
