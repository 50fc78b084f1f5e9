"""Fiddler (arXiv 2402.07033): its published figures, and the runs that are compared with them."""
