"""Reading models from the files others write: Hugging Face configurations and GGUF."""

from sim.importers.gguf import model_from_gguf
from sim.importers.huggingface import model_from_config, native_quantization

__all__ = ["model_from_config", "model_from_gguf", "native_quantization"]
