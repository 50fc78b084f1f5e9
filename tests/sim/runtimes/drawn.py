"""Hosts, models and lines of arguments drawn at random, for laws of runtimes."""

from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from sim.model.library import load_model
from sim.model.model import Model
from sim.runtimes.host import RuntimeHost
from tests.sim.runtimes.examples import DESKTOP, GPU, SERVER

NAMES = (
    "qwen3-30b-a3b",
    "deepseek-v2-lite",
    "gpt-oss-20b",
    "llama-4-scout",
    "granite-3-3b-a800m",
    "mixtral-8x7b",
    "jamba-mini",
    "qwen3-next-80b-a3b",
)
"""Compressed caches, windows, tied heads, layers of states, dense layers between and in front."""


@cache
def model_of(name: str) -> Model:
    """A model in 4 bits."""
    return load_model(name, "4bit")


@st.composite
def hosts(draw: st.DrawFn, least_gpus: int = 1, most_gpus: int = 3) -> RuntimeHost:
    """A desktop or a server with so many GPUs of any memory."""
    host = draw(st.sampled_from((DESKTOP, SERVER)))
    sizes = st.lists(st.integers(2, 96), min_size=least_gpus, max_size=most_gpus)
    return replace(host, gpus=tuple(replace(GPU, memory_bytes=size * 1e9) for size in draw(sizes)))


models = st.sampled_from(NAMES).map(model_of)

LLAMA_PARTS = {
    "-ngl": st.integers(0, 100).map("-ngl {}".format),
    "-ncmoe": st.integers(0, 70).map("-ncmoe {}".format) | st.just("-cmoe"),
    "-ub": st.integers(1, 4096).map("-ub {0} -b {0}".format),
    "-c": st.integers(1, 200_000).map("-c {}".format),
    "-ctk": st.sampled_from(("f16", "q8_0", "q4_0")).map("-ctk {0} -ctv {0}".format),
    "-nkvo": st.just("-nkvo"),
    "-fa": st.sampled_from(("-fa on", "-fa off")),
    "-t": st.integers(1, 80).map("-t {}".format),
    "-nopo": st.just("-nopo"),
    "-sm": st.sampled_from(("-sm none", "-sm layer")),
}
"""Arguments of llama.cpp, of which any may be left out."""


@st.composite
def llama_lines(draw: st.DrawFn, without: tuple[str, ...] = ()) -> str:
    """A line of llama.cpp in which the named arguments are not."""
    names = sorted(set(LLAMA_PARTS) - set(without))
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=5))
    return " ".join(draw(LLAMA_PARTS[name]) for name in chosen)
