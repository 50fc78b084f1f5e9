"""What llama.cpp and ik_llama.cpp read: a command, an environment file, a benchmark, a preset."""

import configparser
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from hwprofiles import InputError
from planner.export.runtime_command import Forms, RuntimeCommand
from sim.runtimes.flags import PROGRAM

VARIABLES: Mapping[str, str] = {
    "-ngl": "LLAMA_ARG_N_GPU_LAYERS",
    "-ts": "LLAMA_ARG_TENSOR_SPLIT",
    "-sm": "LLAMA_ARG_SPLIT_MODE",
    "-mg": "LLAMA_ARG_MAIN_GPU",
    "-dev": "LLAMA_ARG_DEVICE",
    "-ot": "LLAMA_ARG_OVERRIDE_TENSOR",
    "-cmoe": "LLAMA_ARG_CPU_MOE",
    "-ncmoe": "LLAMA_ARG_N_CPU_MOE",
    "-b": "LLAMA_ARG_BATCH",
    "-ub": "LLAMA_ARG_UBATCH",
    "-t": "LLAMA_ARG_THREADS",
    "-c": "LLAMA_ARG_CTX_SIZE",
    "-ctk": "LLAMA_ARG_CACHE_TYPE_K",
    "-ctv": "LLAMA_ARG_CACHE_TYPE_V",
    "-fa": "LLAMA_ARG_FLASH_ATTN",
    "--fit": "LLAMA_ARG_FIT",
    "--numa": "LLAMA_ARG_NUMA",
    "--moe-cache-mib": "LLAMA_ARG_MOE_CACHE_MIB",
    "-m": "LLAMA_ARG_MODEL",
    "-hf": "LLAMA_ARG_HF_REPO",
}
"""Variables that stand for flags (common/arg.cpp); ``env_text`` treats all other flags."""

LONG_NAMES: Mapping[str, str] = {
    "-ngl": "n-gpu-layers",
    "-ts": "tensor-split",
    "-sm": "split-mode",
    "-mg": "main-gpu",
    "-dev": "device",
    "-ot": "override-tensor",
    "-cmoe": "cpu-moe",
    "-ncmoe": "n-cpu-moe",
    "-b": "batch-size",
    "-ub": "ubatch-size",
    "-t": "threads",
    "-tb": "threads-batch",
    "-c": "ctx-size",
    "-ctk": "cache-type-k",
    "-ctv": "cache-type-v",
    "-fa": "flash-attn",
    "--fit": "fit",
    "--numa": "numa",
    "--no-op-offload": "no-op-offload",
    "--moe-cache-mib": "moe-cache-mib",
    "-m": "model",
    "-hf": "hf-repo",
}
"""Names of flags in a preset of llama-server: the long names without their dashes."""

NEVER_TOKENS = str(2**31 - 1)
"""More tokens than any batch has: as GGML_OP_OFFLOAD_MIN_BATCH, the number has nothing copied."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]*gguf(:[\w.-]+)?", re.IGNORECASE)
_GGUF_ENDING = re.compile(r"-gguf(?=-|$)", re.IGNORECASE)

SERVER_ONLY = frozenset({"-c", "-tb", "--fit"})
"""Flags that llama-bench does not have: it makes room for what it runs, fits nothing, and runs
prompts with the threads of answers.
"""


def llama_model_words(model: str) -> tuple[str, ...]:
    """Return the flags for a model: its file, or the repository of GGUF files that it is named by.

    llama.cpp fetches ``-hf OWNER/NAME[:QUANT]`` by itself (common/arg.cpp).
    """
    is_file = model.lower().endswith(".gguf")
    if _REPOSITORY.fullmatch(model) and not is_file:
        return ("-hf", model)
    return file_words(model)


def file_words(model: str) -> tuple[str, ...]:
    """Return the flag for a model's file: the model itself if it is a GGUF file, else a file of its
    name.
    """
    if model.lower().endswith(".gguf"):
        return ("-m", model)
    stem = model.rpartition("/")[2].replace(":", "-")
    return ("-m", f"{_GGUF_ENDING.sub('', stem)}.gguf")


def args_text(command: RuntimeCommand) -> str:
    """Return the command of a server, ready to paste."""
    return command.line("llama-server") + "\n"


def bench_text(command: RuntimeCommand) -> str:
    """Return a command of llama-bench, in which ``;`` separates overrides and ``/`` splits.

    The command measures prompt and answer at two depths. The load's prompt is the one at the first
    depth, its answer the one at the second. If prompts have other threads than answers, there is a
    command for each.
    """
    flags = dict(command.flags())
    prompt, answer = command.prompt_tokens, command.output_tokens
    depths = command.depths_tokens
    prompt_threads = flags.get("-tb")
    if prompt_threads is None:
        return _bench_line(command, prompt, answer, depths)
    return _bench_line(command, prompt, 0, depths[:1], prompt_threads) + _bench_line(
        command, 0, answer, depths[1:]
    )


def _bench_line(
    command: RuntimeCommand,
    prompt_tokens: int,
    output_tokens: int,
    depths_tokens: Sequence[int],
    threads: str | None = None,
) -> str:
    """Return one command of llama-bench; ``threads`` stand in place of the command's own."""
    words: list[str] = []
    for flag, value in command.flags():
        if flag not in SERVER_ONLY and (flag != "-t" or threads is None):
            words += _bench_flag(flag, value)
    if threads is not None:
        words += ["-t", threads]
    words += ["-p", str(prompt_tokens), "-n", str(output_tokens)]
    words += ["-d", ",".join(map(str, depths_tokens))]
    return command.with_words(words).line("llama-bench") + "\n"


def _bench_flag(flag: str, value: str | None) -> list[str]:
    if value is None:
        return ["-nopo" if flag == "--no-op-offload" else flag, "1"]
    if flag == "-ot":
        return [flag, value.replace(",", ";")]
    # Several values of one flag are several runs of llama-bench, each between commas.
    if flag in ("-ts", "-dev"):
        return [flag, value.replace(",", "/")]
    # llama-bench takes a number here, where a server takes a word.
    if flag == "-fa":
        return [flag, "1" if value == "on" else "0"]
    return [flag, value]


def env_text(command: RuntimeCommand) -> str:
    """Return variables, a line each, as ``env`` files and service units take them.

    Raises InputError for a flag that has no variable. ``-tb`` has none either, but is left out (see
    ``left_out``).
    """
    settings = dict(command.environment)
    for flag, value in _once_each(command):
        if flag == "--no-op-offload":
            settings["GGML_OP_OFFLOAD_MIN_BATCH"] = NEVER_TOKENS
        elif flag == "-tb":
            continue  # it has no variable: ``left_out`` says so
        elif flag in VARIABLES:
            settings[VARIABLES[flag]] = "1" if value is None else value
        else:
            raise InputError(f"{flag} has no environment variable; export `form` args")
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def preset_text(command: RuntimeCommand) -> str:
    """Return a section for ``llama-server --models-preset FILE`` (llama.cpp pull request 17859).

    A preset has flags alone, so variables of the environment are in a comment. Raises InputError
    for a flag that has no name in presets.
    """
    lines = [
        f"; start the server with {name}={value}" for name, value in command.environment.items()
    ]
    lines.append(f"[{command.model_name}]")
    for flag, value in _once_each(command):
        if flag not in LONG_NAMES:
            raise InputError(f"{flag} has no name in presets; export `form` args")
        lines.append(f"{LONG_NAMES[flag]} = {'true' if value is None else value}")
    return "\n".join(lines) + "\n"


def _once_each(command: RuntimeCommand) -> Iterator[tuple[str, str | None]]:
    """Yield the command's flags for a form that holds each name once.

    Raises InputError for a flag in several places, such as overrides: their order counts, and would
    be lost.
    """
    seen = set()
    for flag, value in command.flags():
        if flag in seen:
            raise InputError(f"{flag} stands there more than once; export `form` args")
        seen.add(flag)
        yield flag, value


FORMS: Forms = {
    "args": args_text,
    "env": env_text,
    "bench": bench_text,
    "preset": preset_text,
}
"""How each form of llama.cpp is written."""


def left_out(form: str, command: RuntimeCommand) -> tuple[str, ...]:
    """Return notes for the reader on what the form cannot say of the command."""
    threads = dict(command.flags()).get("-tb")
    if form != "env" or threads is None:
        return ()
    return (
        f"-tb {threads} has no environment variable: prompts will have the threads of answers; "
        f"add -tb {threads} to the command",
    )


def arguments_in(form: str, text: str) -> str:
    """Return the line of arguments that a text of that form stands for, as a reader takes it."""
    if form == "env":
        return shlex.join(text.splitlines())
    if form == "preset":
        return _preset_line(text)
    *prompts, line = text.splitlines()
    words = _without_program(line)
    for prompt_line in prompts:  # a benchmark of prompts alone, with threads of its own
        options = _without_program(prompt_line)
        words += ["-tb", options[options.index("-t") + 1]]
    return shlex.join(words)


def _without_program(line: str) -> list[str]:
    """Return the words of a command without its program."""
    words = shlex.split(line)
    # Variables may stand before the program, which may be named with its folder, or not at all.
    program = next((index for index, word in enumerate(words) if _names_program(word)), None)
    if program is not None:
        del words[program]
    return words


def _names_program(word: str) -> bool:
    return PROGRAM.search(word) is not None


def _preset_line(text: str) -> str:
    # Patterns hold colons and percent signs, which would otherwise mean something.
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.read_file(io.StringIO(text))
    [section] = parser.sections()
    # The parser drops comments, which hold the variables, so those are read from the text.
    variables = [
        line.removeprefix("; start the server with ")
        for line in text.splitlines()
        if line.startswith("; start the server with ")
    ]
    words = [word for key, value in parser[section].items() for word in (f"--{key}", value)]
    return shlex.join([*variables, *words])
