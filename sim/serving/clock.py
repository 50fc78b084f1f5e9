"""The clock of an instance, finer than SimPy's, and the end of a step on SimPy's clock."""

import simpy

from sim.serving.prices import TICKS_PER_NS

AFTER_ALL = simpy.events.EventPriority(2)
"""Priority of a step's end, after all other events of its instant.

SimPy's own events have 0 and 1, so a request that arrives at that very instant is in time for the
next step.
"""


class StepEnd(simpy.Event):
    """An event ``delay_ns`` from now, the last one of its instant."""

    def __init__(self, env: simpy.Environment, delay_ns: int) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        env.schedule(self, AFTER_ALL, delay_ns)

    def hand_over(self, other: "StepEnd") -> None:
        """Let processes that wait for this event wait for the other instead."""
        assert self.callbacks is not None and other.callbacks is not None
        other.callbacks.extend(self.callbacks)
        self.callbacks.clear()


class StepClock:
    """The time of an instance in ticks, and counts of its busy ticks, steps and events.

    SimPy's clock counts whole nanoseconds. The steps' own durations are summed in ticks, so that a
    million steps add no rounding.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self.ticks = 0
        self.busy_ticks = 0
        self.num_steps = 0
        self.num_events = 0
        self._env = env

    def wake(self) -> None:
        """Set the clock to SimPy's time, after the instance had nothing to do."""
        self.ticks = int(self._env.now) * TICKS_PER_NS

    def catch_up(self, before_ns: int) -> None:
        """Set the clock to SimPy's time, if the instance has waited since ``before_ns``."""
        # Without a wait, SimPy's time is this clock's rounded up: to take it would add the rounding.
        if int(self._env.now) > before_ns:
            self.wake()

    def passed(self, ticks: int, num_steps: int) -> None:
        """Count ``num_steps`` steps that computed for ``ticks`` in all."""
        self.ticks += ticks
        self.busy_ticks += ticks
        self.num_steps += num_steps
        self.num_events += 1

    def advance(self, ticks: int, stalled_ticks: int = 0) -> StepEnd:
        """Count a step that computes for ``ticks``, then stands still for ``stalled_ticks`` while
        KV moves. Return its end.
        """
        self.passed(ticks, 1)
        return self.stall(stalled_ticks)

    def stall(self, ticks: int) -> StepEnd:
        """Stand still for ``ticks``, which do not count as busy. Return the end of that time."""
        self.ticks += ticks
        return self.end_at(self.ticks)

    def end_at(self, ticks: int) -> StepEnd:
        """Return the event of a step's end: at ``ticks``, rounded up to a whole nanosecond."""
        return StepEnd(self._env, -(-ticks // TICKS_PER_NS) - int(self._env.now))
