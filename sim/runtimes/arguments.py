"""The arguments of any runtime."""

from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.exllamav3.arguments import Exl3Arguments
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.vllm.arguments import VllmArguments

Arguments = LlamaArguments | KtArguments | VllmArguments | AccelerateArguments | Exl3Arguments
