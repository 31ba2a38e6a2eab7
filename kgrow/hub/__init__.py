"""KerasHub's models: growing them, and exchanging weights with them.

KerasHub itself is imported when it is needed. Importing this module makes
`kgrow.GrowableModel(task)` a `GrowableTask` where `task` is one of KerasHub's.
"""

from kgrow.hub.bert_head import HubBERT
from kgrow.hub.conversion import from_hub, to_hub
from kgrow.hub.growable_task import GrowableTask
from kgrow.hub.model_folder import load_folder, save_folder
from kgrow.hub.presets import save_to_preset, upload_preset
from kgrow.hub.task_recipe import TaskRecipe as TaskRecipe

__all__ = [
    "GrowableTask",
    "HubBERT",
    "from_hub",
    "load_folder",
    "save_folder",
    "save_to_preset",
    "to_hub",
    "upload_preset",
]
