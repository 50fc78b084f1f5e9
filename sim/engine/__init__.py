"""Engines: what turns a program or a process into a timeline."""

from sim.engine.engines import ENGINES, Engine, engine
from sim.engine.preparation import needs_compilation, prepare

__all__ = ["ENGINES", "Engine", "engine", "needs_compilation", "prepare"]
