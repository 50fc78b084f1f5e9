"""An ``.npz`` with an array of expert ids for each layer: ``layer_0``, ``layers.3.gate``, ``7``."""

import zipfile
from pathlib import Path

import numpy as np

from hwprofiles import InputError
from hwprofiles.errors import shortened
from sim.routing.npz_arrays import read_arrays
from sim.routing.trace_lines import Imported, is_by_layer, layer_of


def has_layer_arrays(path: Path) -> bool:
    """Whether the name of every array in the file holds exactly one number.

    False for a damaged file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception:  # zipfile raises many types on a damaged archive; who reads it says which
        return False
    return is_by_layer(names)


def read_layer_arrays(path: Path) -> Imported:
    """The trace: arrays [token, rank] by layer, in the order of their numbers.

    Raises InputError.
    """
    _, names = read_arrays(path, ())
    by_layer = sorted(names, key=layer_of)
    # Numbers may have gaps, where dense layers are; their order is what counts.
    layers = [layer_of(name) for name in by_layer]
    if len(set(layers)) < len(layers):
        raise InputError(
            f"{path}: two arrays are of one layer: {shortened(', '.join(by_layer), 120)}"
        )
    arrays, _ = read_arrays(path, by_layer)
    first = arrays[by_layer[0]]
    for name, array in arrays.items():
        if (
            array.ndim != 2
            or array.shape != first.shape
            or not np.issubdtype(array.dtype, np.integer)
        ):
            shapes = f"{name} is {array.dtype} of {array.shape}, {by_layer[0]} of {first.shape}"
            raise InputError(
                f"{path}: arrays by layer must be integers [token, rank], all of one shape; {shapes}"
            )
    ids = np.stack([arrays[name] for name in by_layer], axis=1)
    note = f"{path}: {len(layers)} arrays, of layers {shortened(', '.join(map(str, layers)), 80)}, are taken for the MoE layers in order"
    return Imported(arrays={"expert_ids": ids}, notes=(note,))
