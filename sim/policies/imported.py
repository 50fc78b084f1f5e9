"""Policies and parts of your own, named as ``package.module:NAME``."""

import importlib
import sys
import traceback
from pathlib import Path

from hwprofiles import InputError, closest


def imported(path: str, where: str) -> object:
    """Return what ``package.module:NAME`` stands for; modules are looked for in the current folder
    too.

    Raises InputError, one line, for a module that cannot be imported or has no such name. In its
    message, ``where`` says who asked.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{where} {path}: write package.module:NAME")
    here = str(Path.cwd())
    # A command's own folder is on the path instead.
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever it raises, the module is at fault
        reason = " ".join(str(error).split()) or type(error).__name__
        place = _place_of(error)
        raise InputError(
            f"{where} {path}: cannot import {module_name!r}: {place}{reason}"
        ) from None
    finally:
        sys.path.remove(here)
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise InputError(
            f"{where} {path}: {module_name} has no {attribute!r}{closest(attribute, public)}"
        )
    return getattr(module, attribute)


def _place_of(error: Exception) -> str:
    """Return the file and line of the user's code that raised the error, and the kind of error.

    The text is empty where no such code ran, as for a module that was not found.
    """
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: "
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<")][1:]
    own = [frame for frame in own if not frame.filename.startswith((sys.prefix, sys.base_prefix))]
    if not own:
        return ""
    return f"{own[-1].filename}, line {own[-1].lineno}: {type(error).__name__}: "
