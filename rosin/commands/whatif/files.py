"""The files of a study's folder besides its points: the table and the figures."""

from importlib.util import find_spec
from pathlib import Path

from hwprofiles.text_file import write_bytes
from rosin.commands.whatif.document import WhatifResult
from rosin.commands.whatif.figures import whatif_figures
from rosin.commands.whatif.table import study_table, table_csv

NO_PARQUET = "no table.parquet: pip install 'rosin[parquet]' to have it; table.csv has the same"


def write_files(result: WhatifResult, folder: Path) -> tuple[list[Path], list[str]]:
    """Write the figures, table.csv, and table.parquet if pyarrow is installed.

    Returns the paths of the files, and warnings for the reader.
    """
    table = study_table(result.rows)
    warnings = []
    contents = {"table.csv": table_csv(table)}
    # pyarrow is large, so it is installed on request only.
    if find_spec("pyarrow") is not None:
        contents["table.parquet"] = table.to_parquet(index=False, engine="pyarrow")
    else:
        warnings.append(NO_PARQUET)
    contents |= dict(whatif_figures(result))
    for name, content in contents.items():
        write_bytes(content, folder / name)
    num_misfits = sum(not mark.is_feasible for mark in result.rows.marks)
    if num_misfits:
        warnings.append(
            f"at {num_misfits:,} of {len(result.rows):,} points nothing fits: see reason and missing_bytes in the table"
        )
    return [folder / name for name in contents], warnings
