"""`rosin policies`: list the named systems and their parts, or show one with its parameters."""

from typing import Annotated

import typer

from rosin.cli.output import Output


def policies(
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A policy's name.", show_default=False)
    ] = None,
    output: Output,
) -> None:
    """List the policies and their parts, or show one."""
    from rosin.commands.policies.page import policy_list, policy_page

    if name is None:
        from rosin.commands.policies.listing import kept_listing

        rows, parts = kept_listing()
        output.emit({"policies": rows, "parts": parts}, policy_list(rows, parts))
    else:
        from rosin.commands.policies.document import policy_details
        from sim.policies import find_policy

        details = policy_details(find_policy(name))
        output.emit({"policy": details}, policy_page(details))
