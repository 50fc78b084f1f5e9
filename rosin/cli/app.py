"""The command `rosin` and its table of commands."""

from typing import Annotated

import typer

from rosin.cli import (
    calibrate,
    compare,
    export,
    kv_plan,
    kv_replay,
    machines,
    measure,
    models,
    plan,
    policies,
    prepare,
    reproduce,
    routing,
    simulate,
    validate,
    whatif,
)
from rosin.cli.groups import DefaultCommandGroup, SuggestingGroup
from rosin.version import __version__

PROGRAM = "rosin"
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


def run_command(arguments: list[str]) -> None:
    """Parse the arguments and run the command they name; raises what goes wrong, for the caller to say."""
    command = typer.main.get_command(build_app())
    with command.make_context(PROGRAM, arguments) as context:
        command.invoke(context)


def build_app() -> typer.Typer:
    """The application with every command of the contract that exists."""
    # Without markup, help is plain text and rich is not imported to print it; failures are said by rosin.cli.failures.
    app = typer.Typer(
        cls=SuggestingGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=HELP_OPTIONS
    )
    app.callback(invoke_without_command=True)(root)
    app.command("machines")(machines.machines)
    app.add_typer(models_app(), name="models", help="List the models, show one, or import one.")
    app.command("policies")(policies.policies)
    app.add_typer(routing_app(), name="routing", help="Import expert traces, fit generators, show statistics.")
    app.command("simulate")(simulate.simulate)
    app.command("compare")(compare.compare)
    app.command("plan")(plan.plan)
    app.command("whatif")(whatif.whatif)
    app.command("export")(export.export)
    app.command("kv-plan")(kv_plan.kv_plan)
    app.command("kv-replay")(kv_replay.kv_replay)
    app.command("reproduce")(reproduce.reproduce)
    app.command("measure")(measure.measure)
    app.command("calibrate")(calibrate.calibrate)
    app.command("validate")(validate.validate)
    app.command("prepare")(prepare.prepare)
    return app


def models_app() -> typer.Typer:
    """``rosin models`` and its sub-commands."""
    app = typer.Typer(cls=DefaultCommandGroup, rich_markup_mode=None, context_settings=HELP_OPTIONS)
    app.command("show")(models.show)
    app.command("import")(models.import_)
    return app


def routing_app() -> typer.Typer:
    """``rosin routing`` and its sub-commands."""
    app = typer.Typer(cls=SuggestingGroup, rich_markup_mode=None, context_settings=HELP_OPTIONS)
    app.command("import")(routing.import_)
    app.command("fit")(routing.fit)
    app.command("stats")(routing.stats)
    return app


def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False
) -> None:
    """Predict and plan how Mixture-of-Experts language models run on a machine with too little GPU memory."""
    if version:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
