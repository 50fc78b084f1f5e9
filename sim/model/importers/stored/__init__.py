"""The storage of checkpoints: what each kind of quantisation settings says of each tensor."""

from sim.model.importers.stored.reading import (
    BESIDE,
    native_storage,
    settings_beside,
    states_settings,
)
from sim.model.importers.stored.storage import Storage

__all__ = ["BESIDE", "Storage", "native_storage", "settings_beside", "states_settings"]
