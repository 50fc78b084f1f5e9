"""The end of a step on SimPy's clock, after all else that falls on the same instant."""

import simpy

AFTER_ALL = simpy.events.EventPriority(2)
"""Priority of a step's end:

SimPy's own events have 0 and 1, so what arrives at that very instant is in time for the next step.
"""


class StepEnd(simpy.Event):
    """Happens ``delay_ns`` from now, last of its instant."""

    def __init__(self, env: simpy.Environment, delay_ns: int) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        env.schedule(self, AFTER_ALL, delay_ns)

    def hand_over(self, other: "StepEnd") -> None:
        """Let whoever waits for this one wait for the other instead."""
        assert self.callbacks is not None and other.callbacks is not None
        other.callbacks.extend(self.callbacks)
        self.callbacks.clear()
