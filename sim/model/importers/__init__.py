"""Reading models from the files others write: Hugging Face configurations and GGUF."""

from sim.model.importers.gguf import GgufImport, Ignored, import_gguf, model_from_gguf
from sim.model.importers.huggingface import model_from_config, native_quantization

__all__ = [
    "GgufImport",
    "Ignored",
    "import_gguf",
    "model_from_config",
    "model_from_gguf",
    "native_quantization",
]
