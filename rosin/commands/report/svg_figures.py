"""The SVG figures of a folder, made fit for a page."""

import re
from collections.abc import Sequence
from pathlib import Path

# A figure may come from anybody, so whatever could run or load something is cut out of it.
_SCRIPT = re.compile(
    r"<(script|foreignObject|style)\b.*?</\1>|\son\w+=\S+|href=\"(?!#|data:image/png;)[^\"]*\"",
    re.S | re.I,
)


def svg_figures(files: Sequence[Path]) -> dict[str, str]:
    """Return the SVG files by name, without declarations, scripts and links to other files.

    Raises InputError for a file that is not text.
    """
    from hwprofiles.input_file import read_text

    found = {}
    for file in files:
        if file.suffix == ".svg":
            text = read_text(file, "figure", "SVG")
            # Declarations before the element belong into a file of SVG, not into a page.
            text = text[text.index("<svg") :] if "<svg" in text else ""
            text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
            found[file.stem] = _SCRIPT.sub("", text)
    return found
