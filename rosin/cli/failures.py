"""The end of a command: exit codes, and each failure as one plain line on stderr."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import TextIO

import typer

from rosin.cli.field_options import in_options
from rosin.cli.stopping import INTERRUPTED_CODE, say_interrupted

DEBUG_VARIABLE = "ROSIN_DEBUG"
NOT_TAKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)
"""Error numbers of a write that cannot succeed.

The disk or the user's quota is full, the file is too large, or the parent process closed the
stream.
"""
OWN_PACKAGES = ("hwprofiles", "sim", "planner", "validation", "rosin")


class ExitCode(IntEnum):
    """Exit codes of the process. 70 is EX_SOFTWARE of sysexits.h; 130 and 141 are 128 + SIGINT and
    128 + SIGPIPE.
    """

    OK = 0
    WRONG_INPUT = 2
    INFEASIBLE = 3
    INTERNAL = 70
    INTERRUPTED = INTERRUPTED_CODE
    CLOSED_PIPE = 141


class NoFeasiblePlan(Exception):
    """No plan fits, or none keeps to the constraints.

    A command raises it for the planner's typed answer. The message is one line that says by how
    much the nearest plan misses.
    """


def exit_code_of(action: Callable[[], None]) -> int:
    """Run the action and return an exit code; an error becomes one line on stderr.

    If ROSIN_DEBUG is set to anything but 0, a bug in Rosin is raised as it is.
    """
    _print_what_it_can()
    try:
        action()
        # A closed pipe or a full disk shows only when the buffer is written, so flush inside the
        # try.
        sys.stdout.flush()
        return ExitCode.OK
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return say_interrupted()
    except BrokenPipeError:
        _discard(sys.stdout)
        return ExitCode.CLOSED_PIPE
    except typer.TyperException as error:
        return _say(usage_problem(error), ExitCode.WRONG_INPUT)
    except NoFeasiblePlan as error:
        return _say(str(error), ExitCode.INFEASIBLE)
    except Exception as error:
        return _judge(error)


def usage_problem(error: typer.TyperException) -> str:
    """Return a parser's usage error in Rosin's words, with the nearest valid option for an unknown
    one.
    """
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    # Only the error for an unknown option has `possibilities`.
    if context is not None and option is not None and hasattr(error, "possibilities"):
        from hwprofiles.errors import unknown_name

        valid = [
            name
            for parameter in context.command.get_params(context)
            for name in (*parameter.opts, *parameter.secondary_opts)
        ]
        # Short forms are left out: everything is near to one letter.
        return str(
            unknown_name("option", option, [name for name in valid if name.startswith("--")])
        )
    # Our messages stand behind "error: ": they begin with a small letter and have no full stop.
    text = error.format_message().rstrip(".")
    # Of a group, only its name was typed.
    commands = getattr(context.command, "commands", {}) if context is not None else {}
    known = f"; known: {', '.join(commands)}" if text == "Missing command" and commands else ""
    return text[:1].lower() + text[1:] + known


def _judge(error: Exception) -> int:
    """Report a user's mistake (InputError) or a bug in Rosin, and return the exit code.

    InputError is imported here, so that only a failure pays for the import.
    """
    from hwprofiles.errors import InputError

    if isinstance(error, InputError):
        return _say(str(error), ExitCode.WRONG_INPUT)
    # The error of a full disk or a closed stream names no file, and what is left in the buffer of
    # stdout would fail again.
    if isinstance(error, OSError) and error.errno in NOT_TAKEN:
        _discard(sys.stdout)
        return _say(f"cannot write the output: {error.strerror}", ExitCode.WRONG_INPUT)
    if (
        isinstance(error, OSError) and error.filename is not None
    ):  # a file that no check of ours met
        return _say(f"{error.filename}: {error.strerror}", ExitCode.WRONG_INPUT)
    # A fault in a user's own policy is the user's to mend, so it is no internal error.
    place = _place_in_own_code(error)
    if place is not None:
        return _say(f"{place}: {type(error).__name__}: {error}", ExitCode.WRONG_INPUT)
    if os.environ.get(DEBUG_VARIABLE, "0") not in {"", "0"}:
        raise error
    return _say(
        f"internal: {type(error).__name__}: {error}; please report ({DEBUG_VARIABLE}=1 shows where)",
        ExitCode.INTERNAL,
    )


def _place_in_own_code(error: BaseException) -> str | None:
    """Return the file, line and function of the user's own code that raised the error.

    The user's own code is called by the simulator or the planner, and is neither Rosin's nor
    installed. None: the error comes from Rosin.
    """
    installed = (sys.prefix, sys.base_prefix)
    place = None
    is_called_by_us = False
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        file = frame.f_code.co_filename
        if package in OWN_PACKAGES:
            # Who calls Rosin as a library is no policy part, so only frames below these two count.
            is_called_by_us |= package in ("sim", "planner")
        elif is_called_by_us and not file.startswith(("<", *installed)):
            # The innermost of such frames stays: it is nearest to the fault.
            place = f"{file}, line {line}, in {frame.f_code.co_name}"
    return place


def _print_what_it_can() -> None:
    """Make stdout print "?" for characters such as "×" and "─" that its encoding lacks."""
    # Tests and notebooks put other streams in the place of stdout, which have no encoding to
    # change.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _say(message: str, code: ExitCode) -> int:
    from hwprofiles.errors import one_line

    try:
        print("error:", in_options(one_line(message)), file=sys.stderr, flush=True)
    except OSError:  # a full disk or a closed pipe: the exit code still says how it ended
        _discard(sys.stderr)
    return code


def _discard(stream: TextIO) -> None:
    """Point stdout or stderr at the null device.

    Otherwise the interpreter complains about a closed pipe or a full disk when it flushes the
    stream at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
