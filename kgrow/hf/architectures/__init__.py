"""Tables of the axes of architectures, one file a group of like ones."""

from kgrow.hf.architectures import (
    deberta,
    decoder,
    encoder,
    experts,
    gpt2,
    olmo,
    opt,
    partial_rotary,
    phi3,
    vision,
)
from kgrow.hf.architectures.registry import model_types, register, table_of

__all__ = [
    "deberta",
    "decoder",
    "encoder",
    "experts",
    "gpt2",
    "model_types",
    "olmo",
    "opt",
    "partial_rotary",
    "phi3",
    "register",
    "table_of",
    "vision",
]
