"""Model families that can be grown."""

from kgrow.models import configurations as configurations
from kgrow.models.bert import BERT
from kgrow.models.cait import CaiT
from kgrow.models.deit import DeiT
from kgrow.models.gpt2 import GPT2
from kgrow.models.llama import Llama
from kgrow.models.mlp import MLP
from kgrow.models.resnet import ResNet
from kgrow.models.roberta import RoBERTa
from kgrow.models.swin import Swin
from kgrow.models.vit import ViT

__all__ = [
    "BERT",
    "CaiT",
    "DeiT",
    "GPT2",
    "Llama",
    "MLP",
    "ResNet",
    "RoBERTa",
    "Swin",
    "ViT",
]
