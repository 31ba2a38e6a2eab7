"""Model families that can be grown.

The imports are written by `make registries`.
"""

import sys

from kgrow.algebra.discovery import discover
from kgrow.models import configurations as configurations
from kgrow.models.bert import BERT
from kgrow.models.cait import CaiT
from kgrow.models.deit import DeiT
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.gpt2 import GPT2
from kgrow.models.llama import Llama
from kgrow.models.mlp import MLP
from kgrow.models.network import Network
from kgrow.models.registry import register, registered
from kgrow.models.resnet import ResNet
from kgrow.models.roberta import RoBERTa
from kgrow.models.swin import Swin
from kgrow.models.vit import ViT

__all__ = [
    "BERT",
    "CaiT",
    "DeiT",
    "Example",
    "Family",
    "GPT2",
    "Llama",
    "MLP",
    "Network",
    "ResNet",
    "RoBERTa",
    "Swin",
    "ViT",
    "register",
    "registered",
]

# A file that is not listed above yet registers what it holds as well.
discover(sys.modules[__name__])
