"""Checking every point of a study before any of it runs."""

from hwprofiles import InputError, load_machine, unknown_name
from planner.search.plan import Setting
from planner.study.axes import Axis, Value
from planner.study.outcome import OBJECTIVE_FIGURES
from planner.study.study import Study
from sim.routing import load_routing
from sim.step.simulate import Question, check_question


class Checker:
    """Checks settings, each part of them once."""

    def __init__(self) -> None:
        """Start with nothing checked."""
        self._seen: set[tuple[object, ...]] = set()

    def check(self, setting: Setting) -> None:
        """Raise InputError for a setting that cannot be simulated.

        What does not fit memory is no error.
        """
        # One override at a time: that finds the one at fault, and most points share most of them.
        for overrides in ((), *((override,) for override in setting.machine_overrides)):
            if self._is_new("machine", setting.machine, *overrides):
                load_machine(setting.machine, overrides)
        names = (setting.model, setting.quantization, setting.kv_type, setting.routing)
        batch = setting.batch
        if self._is_new(
            *names,
            batch,
            setting.expert_slots_per_layer,
            setting.gpus,
            setting.split_mode,
            setting.layers_by_card,
            setting.expert_cache_bytes,
        ):
            model = setting.loaded_model()
            machine = load_machine(setting.machine)
            check_question(
                Question(
                    machine=machine,
                    model=model,
                    batch=batch,
                    routing=load_routing(setting.routing, model),
                    slots_per_layer=setting.expert_slots_per_layer,
                    split=setting.card_split(machine, model),
                    expert_cache_bytes=setting.expert_cache_bytes,
                )
            )

    def _is_new(self, *part: object) -> bool:
        is_new = part not in self._seen
        self._seen.add(part)
        return is_new


def check_study(study: Study) -> None:
    """Check all points.

    Raises InputError, one line that names the value at fault where a single one is.
    """
    if study.objective == "cost":
        raise InputError(
            "`objective` cost: a study plans for speed; `prices` sets price against it"
        )
    if study.objective not in OBJECTIVE_FIGURES:
        raise unknown_name("objective", study.objective, OBJECTIVE_FIGURES)
    checker = Checker()
    # One axis at a time first, so that an error names the one value it comes from.
    first = tuple(axis.values[0] for axis in study.axes)
    _checked(checker, study, first, study.axes)
    for place, axis in enumerate(study.axes):
        for value in axis.values[1:]:
            _checked(checker, study, (*first[:place], value, *first[place + 1 :]), (axis,))
    # All combinations last, because two values may be wrong only together.
    for point in study.points():
        _checked(checker, study, point.values, study.axes, point.setting)
        if study.objective == "tpot" and point.setting.output_tokens == 1:
            raise InputError(
                "`objective` tpot: an answer of one token has no time per further token; raise `output_tokens`"
            )


def _checked(
    checker: Checker,
    study: Study,
    values: tuple[Value, ...],
    suspects: tuple[Axis, ...],
    setting: Setting | None = None,
) -> None:
    if setting is None:
        setting = study.base
        for axis, value in zip(study.axes, values, strict=True):
            setting = axis.applied(setting, value)
    try:
        checker.check(setting)
    except InputError as error:
        raise InputError(_blamed(str(error), study, values, suspects)) from None


def _blamed(
    message: str, study: Study, values: tuple[Value, ...], suspects: tuple[Axis, ...]
) -> str:
    """Return the message in the words of what varies.

    Overrides are as typed. The message names the values, and their axes, that met the error.
    """
    said = {
        axis.path: axis.texts[axis.values.index(value)]
        for axis, value in zip(study.axes, values, strict=True)
    }
    for axis, value in zip(study.axes, values, strict=True):
        if axis.is_numeric:
            message = message.replace(
                f"`overrides` {axis.path}={float(value)!r}", f"`vary` {axis.path}={said[axis.path]}"
            )
    if "`vary` " in message or not suspects:
        return message
    return f"`vary` {' '.join(f'{axis.path}={said[axis.path]}' for axis in suspects)}: {message}"
