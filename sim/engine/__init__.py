"""Engines: what turns a program or a process into a timeline."""

from sim.engine.engines import ENGINES, Engine, engine
from sim.engine.preparation import NOTICE, needs_compilation, prepare

__all__ = ["ENGINES", "NOTICE", "Engine", "engine", "needs_compilation", "prepare"]
