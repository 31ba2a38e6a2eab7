"""Tables of the axes of architectures, one file a group of like ones."""

from kgrow.hf.architectures import decoder, encoder, gpt2
from kgrow.hf.architectures.registry import model_types, register, table_of

__all__ = [
    "decoder",
    "encoder",
    "gpt2",
    "model_types",
    "register",
    "table_of",
]
