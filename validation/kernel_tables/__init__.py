"""Read kernels that others measured and published into the curves of a machine file."""

from validation.kernel_tables.aiconfigurator import aiconfigurator_rows
from validation.kernel_tables.freetoken import with_freetoken_profile
from validation.kernel_tables.grouped_rows import GroupedRows
from validation.kernel_tables.import_curves import ImportedCurves, with_grouped_curves
from validation.kernel_tables.llmservingsim import llmservingsim_rows
from validation.kernel_tables.model_curves import ImportedLayers, import_layers

__all__ = [
    "GroupedRows",
    "ImportedCurves",
    "ImportedLayers",
    "aiconfigurator_rows",
    "import_layers",
    "llmservingsim_rows",
    "with_freetoken_profile",
    "with_grouped_curves",
]
