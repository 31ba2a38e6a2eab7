"""KerasHub's models: growing them, and exchanging weights with them.

KerasHub itself is imported when it is needed. Importing this module makes
`kgrow.GrowableModel(task)` a `GrowableTask` where `task` is one of KerasHub's.
"""

from kgrow.hub.bert_head import HubBERT
from kgrow.hub.conversion import from_hub, to_hub
from kgrow.hub.growable_task import GrowableTask
from kgrow.hub.task_recipe import TaskRecipe as TaskRecipe

__all__ = ["GrowableTask", "HubBERT", "from_hub", "to_hub"]
