"""Compiling ahead: steps wait for those whose kernels they take in, and progress ends at the whole."""

from planner.search.prepare import STEPS, CompileStep, prepare


def test_a_step_begins_when_those_before_it_have_ended() -> None:
    """A step is not under way together with one that it takes kernels from; all are done at the end."""
    steps = (
        CompileStep(name="second", run=int, share=0.5, after=("first",)),
        CompileStep(name="first", run=int, share=0.3),
        CompileStep(name="beside", run=int, share=0.2),
    )
    states = list(prepare(steps))
    assert all(set(state.under_way) != {"first", "second"} for state in states)
    assert set(states[0].under_way) == {"first", "beside"}
    assert [state.done for state in states] == sorted(state.done for state in states)
    assert (states[-1].done, states[-1].num_functions) == (1.0, 0)


def test_steps_name_each_other() -> None:
    """Every step that is waited for exists, and the shares are those of one whole."""
    names = {step.name for step in STEPS}
    assert all(set(step.after) <= names for step in STEPS)
    assert abs(sum(step.share for step in STEPS) - 1.0) < 1e-9
