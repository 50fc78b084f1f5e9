"""Groups of commands that suggest the nearest name, and may have a default command."""

from typing import Any

from typer.core import TyperGroup

DEFAULT_COMMAND = "show"


class SuggestingGroup(TyperGroup):
    """A group that treats an unknown command as wrong input, like any other misspelt name."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # typer's types of both are private
        """Return the command of that name.

        Raises InputError with the nearest name for an unknown one.
        """
        command = super().get_command(ctx, cmd_name)
        # An option, or a word that a shell is completing, is no misspelt name.
        if command is None and not cmd_name.startswith("-") and not ctx.resilient_parsing:
            from hwprofiles.errors import unknown_name

            raise unknown_name("command", cmd_name, self.commands)
        return command


class DefaultCommandGroup(SuggestingGroup):
    """A group that runs ``show`` unless its first word is one of its commands.

    ``rosin models NAME`` is ``rosin models show NAME``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``show`` before the arguments, unless the first is a command or asks for help."""
        is_named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if is_named else [DEFAULT_COMMAND, *args])
