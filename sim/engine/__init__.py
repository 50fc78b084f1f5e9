"""Engines: what turns a program or a process into a timeline."""

from sim.engine.engines import ENGINES, Engine, engine

__all__ = ["ENGINES", "Engine", "engine"]
