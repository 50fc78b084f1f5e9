"""A device map of accelerate 1.15 as JSON.

A program reads it with ``from_pretrained(…, device_map=json.load(open(FILE)))``.
"""

import json
import shlex

from planner.export.runtime_command import Forms, RuntimeCommand
from sim.runtimes.accelerate.arguments import AccelerateArguments

BESIDE_LAYERS = ("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head")
"""Modules of transformers' language models beside their layers."""


def device_map_words(arguments: AccelerateArguments) -> tuple[str, ...]:
    """Return the map as one word of JSON: the host's layers on ``cpu``, all else on GPU 0."""
    on_host = set(arguments.host_layers)
    devices: dict[str, int | str] = dict.fromkeys(BESIDE_LAYERS[:2], 0)
    for index in range(arguments.num_layers):
        devices[f"model.layers.{index}"] = "cpu" if index in on_host else 0
    devices |= dict.fromkeys(BESIDE_LAYERS[2:], 0)
    return (json.dumps(devices),)


def args_text(command: RuntimeCommand) -> str:
    """Return the map as JSON, one module a line."""
    return json.dumps(json.loads(command.words[0]), indent=1) + "\n"


FORMS: Forms = {"args": args_text}
"""How each form of a device map is written."""


def arguments_in(form: str, text: str) -> str:
    """Return the map that a text of that form holds."""
    assert form in FORMS
    return shlex.quote(json.dumps(json.loads(text)))
