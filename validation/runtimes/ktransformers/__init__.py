"""Write files that KTransformers reads."""

from validation.runtimes.ktransformers.mask_file import save_mask

__all__ = ["save_mask"]
