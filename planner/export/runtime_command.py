"""A command of a runtime before it has a form: its words, its variables, and the load it is for."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCommand:
    """The command that starts a runtime.

    ``words`` are its arguments without the model; ``model_words`` name the model's files.
    ``depths_tokens`` are the tokens in the KV cache when the prompt begins, and when the answer
    does.
    """

    runtime: str
    model_name: str
    model_words: tuple[str, ...]
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    prompt_tokens: int = 512
    output_tokens: int = 128
    depths_tokens: tuple[int, int] = (0, 512)

    @property
    def all_words(self) -> tuple[str, ...]:
        """The model's words, then the others."""
        return (*self.model_words, *self.words)

    def flags(self) -> Iterator[tuple[str, str | None]]:
        """Yield each flag with its value, None where it has no value."""
        words = list(self.all_words)
        while words:
            flag = words.pop(0)
            has_value = bool(words) and not _is_flag(words[0])
            yield flag, words.pop(0) if has_value else None

    def with_words(self, words: Sequence[str]) -> "RuntimeCommand":
        """Return the command with those words, the model's among them."""
        return replace(self, words=tuple(words), model_words=())

    def line(self, program: str) -> str:
        """Return the line to paste: variables, the program, its words."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return " ".join(
            [*map(quoted, variables), program, *(quoted(word) for word in self.all_words)]
        )


def figures(number: float) -> str:
    """Return a number as text that reads back exactly; a whole number has no decimal point."""
    return repr(float(number)).removesuffix(".0")


Forms = Mapping[str, Callable[[RuntimeCommand], str]]
"""How each form of a program's arguments is written, by its name."""


def command_form(program: str) -> Forms:
    """Return the forms of a program that has a command alone, ready to paste."""
    return {"args": lambda command: command.line(program) + "\n"}


def command_reader(program: str, *, num_model_words: int = 0) -> Callable[[str, str], str]:
    """Return the function that reads such a command back as a line of arguments.

    The function leaves out the program and the first ``num_model_words`` words, which name the
    model.
    """

    def arguments_in(form: str, text: str) -> str:
        """Return the line of arguments that a text of that form stands for."""
        assert form == "args"
        return shlex.join(shlex.split(text.replace(program, "", 1))[num_model_words:])

    return arguments_in


def quoted(word: str) -> str:
    """Return a word quoted for a shell, in double quotes where they suffice, as people write it."""
    if shlex.quote(word) == word:
        return word
    # Within double quotes a shell still reads these.
    if any(letter in word for letter in '"$`!') or word.endswith("\\"):
        return shlex.quote(word)
    return f'"{word}"'


def _is_flag(word: str) -> bool:
    # A negative number is a value.
    return word.startswith("-") and not word[1:2].isdigit()
