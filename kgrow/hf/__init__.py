"""Folders of safetensors, as `transformers` writes them, grown on NumPy."""

from kgrow.hf.architectures import model_types, register, table_of
from kgrow.hf.checkpoint import Checkpoint, open_checkpoint
from kgrow.hf.folder_growth import FolderPlan, grow, plan_growth, read_spec
from kgrow.hf.folder_receipt import FolderReceipt
from kgrow.hf.folder_spec import FolderSpec
from kgrow.hf.new_vocabulary import change_vocabulary
from kgrow.hf.tensor_table import Divided, Packed, Shifted, TensorTable

__all__ = [
    "Checkpoint",
    "FolderPlan",
    "FolderReceipt",
    "FolderSpec",
    "Divided",
    "Packed",
    "Shifted",
    "TensorTable",
    "change_vocabulary",
    "grow",
    "model_types",
    "open_checkpoint",
    "plan_growth",
    "read_spec",
    "register",
    "table_of",
]
