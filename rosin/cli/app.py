"""The command `rosin` and its table of commands."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Annotated

import typer

from rosin.cli import completion
from rosin.cli.groups import DefaultCommandGroup, SuggestingGroup
from rosin.cli.help_text import epilog, root_epilog
from rosin.cli.option_groups import with_groups
from rosin.version import __version__

PROGRAM = "rosin"
Commands = Mapping[str, Callable[..., None]]
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


COMMANDS = (
    "machines",
    "models",
    "policies",
    "routing",
    "simulate",
    "compare",
    "plan",
    "choose",
    "whatif",
    "export",
    "kv-plan",
    "kv-replay",
    "caches",
    "reproduce",
    "accuracy",
    "measure",
    "calibrate",
    "validate",
    "report",
    "serve",
    "prepare",
)
"""The commands, in the order in which the help lists them.

A command ``a-b`` is the function ``a_b`` of ``rosin.commands.a_b.command``, unless ``GROUPS`` has a
group of that name.
"""


def run_command(arguments: list[str]) -> None:
    """Parse the arguments and run the command that they name. The caller reports errors."""
    # Any command may be the one that is completed, so all of them are built.
    if completion.is_asked():
        return completion.answer(typer.main.get_command(build_app()), PROGRAM)
    named = (
        arguments[:1] if set(arguments[:1]) & set(COMMANDS) else COMMANDS
    )  # reading the options of all takes a tenth of a second
    command = typer.main.get_command(build_app(named))
    # The parser's own main would print failures in its own words and end the process.
    with command.make_context(PROGRAM, arguments) as context:
        command.invoke(context)


def build_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """The application with those commands."""
    # Without markup, help is plain text and rich is not imported to print it; failures are said by
    # rosin.cli.failures.
    app = typer.Typer(
        cls=SuggestingGroup,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=HELP_OPTIONS,
    )
    app.callback(invoke_without_command=True, epilog=root_epilog())(root)
    for name in commands:
        if name in GROUPS:
            app.add_typer(GROUPS[name](), name=name, epilog=epilog(name))
        else:
            app.command(name, epilog=epilog(name))(with_groups(_function(name.replace("-", "_"))))
    return app


def _machines_app() -> typer.Typer:
    """``rosin machines`` and its sub-commands."""
    # Modules of a group are imported for that group alone: other commands start sooner without
    # them.
    from rosin.commands.machines import command as machines
    from rosin.commands.machines import import_command

    commands: Commands = {
        "show": machines.show,
        "new": machines.new,
        "detect": machines.detect,
        "parts": machines.parts,
        "import": import_command.import_,
    }
    return _group("List machines, show one, or make one from parts.", DefaultCommandGroup, commands)


def _models_app() -> typer.Typer:
    """``rosin models`` and its sub-commands."""
    from rosin.commands.models import command as models

    commands: Commands = {"show": models.show, "import": models.import_}
    return _group("List the models, show one, or import one.", DefaultCommandGroup, commands)


def _routing_app() -> typer.Typer:
    """``rosin routing`` and its sub-commands."""
    from rosin.commands.routing import command as routing

    commands: Commands = {"import": routing.import_, "fit": routing.fit, "stats": routing.stats}
    return _group(
        "Import expert traces, fit generators, show statistics.", SuggestingGroup, commands
    )


def _group(help_text: str, cls: type[SuggestingGroup], commands: Commands) -> typer.Typer:
    """Return the application of a command with sub-commands."""
    app = typer.Typer(cls=cls, rich_markup_mode=None, context_settings=HELP_OPTIONS, help=help_text)
    for name, command in commands.items():
        app.command(name)(with_groups(command))
    return app


# Functions, not applications: to build a group is to import its commands.
GROUPS: Mapping[str, Callable[[], typer.Typer]] = {
    "machines": _machines_app,
    "models": _models_app,
    "routing": _routing_app,
}


def _function(name: str) -> Callable[..., None]:
    """Return the function of the command of that name, imported from its module."""
    # By name, so that one command imports its own module and not those of all the others.
    function: Callable[..., None] = getattr(import_module(f"rosin.commands.{name}.command"), name)
    return function


def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")
    ] = False,
    completion_for: Annotated[
        str | None,
        typer.Option(
            "--completion",
            metavar="bash|zsh|fish",
            is_eager=True,
            help="Print what that shell evaluates to complete commands and names.",
        ),
    ] = None,
) -> None:
    """Predict and plan how Mixture-of-Experts language models run on a machine with too little GPU
    memory.
    """
    if version:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit
    if completion_for is not None:
        typer.echo(completion.script(PROGRAM, completion_for))
        raise typer.Exit
    # A bare `rosin` asks for help: that is an answer, not a failure.
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
