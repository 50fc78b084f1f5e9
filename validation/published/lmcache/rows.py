"""The published figures beside this code."""

from validation.published.published_row import PublishedRow, published_rows


def rows(file_name: str) -> tuple[PublishedRow, ...]:
    """All rows of a CSV file beside this code."""
    return published_rows("validation.published.lmcache", f"{file_name}.csv")
