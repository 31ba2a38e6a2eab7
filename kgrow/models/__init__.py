"""Model families that can be grown."""

from kgrow.models.bert import BERT
from kgrow.models.gpt2 import GPT2
from kgrow.models.mlp import MLP

__all__ = ["BERT", "GPT2", "MLP"]
