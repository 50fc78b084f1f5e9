"""The runtimes that plans are written for, and the forms that each of them reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hwprofiles import InputError, unknown_name
from planner.export import accelerate, exllamav3, ktransformers, llama_cpp, vllm
from planner.export.runtime_command import Forms, RuntimeCommand
from sim.runtimes.accelerate.arguments import ACCELERATE
from sim.runtimes.exllamav3.arguments import EXLLAMAV3
from sim.runtimes.ktransformers.arguments import KTRANSFORMERS
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP
from sim.runtimes.vllm.arguments import VLLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """The functions that write the arguments of one runtime.

    ``words`` and ``environment`` turn arguments into words and variables. ``forms`` write a
    command, by the form's name; ``arguments_in`` reads such a text back as a line of arguments.
    ``model_words`` returns the flags for the model's files, ``left_out`` notes on what a form
    cannot say.
    """

    words: Callable[[Any], tuple[str, ...]]
    environment: Callable[[Any], Mapping[str, str]]
    forms: Forms
    arguments_in: Callable[[str, str], str]
    model_words: Callable[[str], tuple[str, ...]]
    left_out: Callable[[str, RuntimeCommand], tuple[str, ...]] = lambda _form, _command: ()


# One writer for both programs: arguments know which of them they are for.
_LLAMA = Writer(
    words=llama_cpp.llama_words,
    environment=llama_cpp.llama_environment,
    forms=llama_cpp.FORMS,
    arguments_in=llama_cpp.arguments_in,
    model_words=llama_cpp.llama_model_words,
    left_out=llama_cpp.left_out,
)

WRITERS: Mapping[str, Writer] = {
    LLAMA_CPP: _LLAMA,
    # Its --hf-repo takes a file of the repository beside it, whose name is not known here.
    IK_LLAMA_CPP: replace(_LLAMA, model_words=llama_cpp.file_words),
    KTRANSFORMERS: Writer(
        words=ktransformers.kt_words,
        environment=lambda _: {},
        forms=ktransformers.FORMS,
        arguments_in=ktransformers.arguments_in,
        model_words=lambda model: ("--model", model, "--kt-weight-path", model),
    ),
    VLLM: Writer(
        words=vllm.vllm_words,
        environment=lambda _: {},
        forms=vllm.FORMS,
        arguments_in=vllm.arguments_in,
        model_words=lambda model: (model,),
    ),
    ACCELERATE: Writer(
        words=accelerate.device_map_words,
        environment=lambda _: {},
        forms=accelerate.FORMS,
        arguments_in=accelerate.arguments_in,
        model_words=lambda _: (),
    ),
    EXLLAMAV3: Writer(
        words=exllamav3.exl3_words,
        environment=lambda _: {},
        forms=exllamav3.FORMS,
        arguments_in=exllamav3.arguments_in,
        model_words=lambda model: ("-m", model),
    ),
}
"""Writers by the runtime's name."""


def runtime_text(form: str, command: RuntimeCommand) -> str:
    """Return the command in a form. Raises InputError for one that the runtime does not have."""
    forms = WRITERS[command.runtime].forms
    if form not in forms:
        raise unknown_form(command.runtime, form)
    return forms[form](command)


def unknown_form(runtime: str, form: str) -> InputError:
    """Return the error for a form that a runtime does not have."""
    return unknown_name(f"form of {runtime}", form, WRITERS[runtime].forms)
