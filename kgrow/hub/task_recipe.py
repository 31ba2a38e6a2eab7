"""How a task of KerasHub is made again, with a larger backbone."""

import inspect

import keras

from kgrow.architecture.recipes import (
    ClassRecipe,
    load_recipe,
    register_recipe,
)
from kgrow.architecture.stable_paths import counted_names


def _is_task(network):
    return (
        hasattr(network, "preprocess_samples")
        and getattr(network, "backbone", None) is not None
    )


@register_recipe("task", _is_task)
class TaskRecipe:
    """A task, made anew around a backbone with other fields.

    The preprocessor stays the same object: its vocabulary is an asset, which
    no config holds.

    Args:
        task: a task such as `keras_hub.models.CausalLM`.
    """

    def __init__(self, task):
        self.task_class = type(task)
        self.preprocessor = task.preprocessor
        self.backbone = ClassRecipe(task.backbone)
        self.backbone.config.update(_forgotten(task.backbone))
        self.head = dict(task.get_config())
        for name in ("backbone", "preprocessor"):
            self.head.pop(name, None)
        self.config = {**self.head, **self.backbone.config}

    @classmethod
    def from_source(cls, found, source):
        recipe = object.__new__(cls)
        recipe.task_class = found
        recipe.preprocessor = None
        recipe.backbone = load_recipe(source["backbone"])
        recipe.head = keras.saving.deserialize_keras_object(source["head"])
        recipe.config = {**recipe.head, **recipe.backbone.config}
        return recipe

    def make(self, fields):
        """A task with the given fields in its backbone and its head."""
        inner = {f: v for f, v in fields.items() if f in self.backbone.config}
        head = {
            f: v
            for f, v in fields.items()
            if f in self.head and f not in self.backbone.config
        }
        with counted_names() as remember:
            made = self.task_class(
                backbone=self.backbone.remade(inner),
                preprocessor=self.preprocessor,
                compile=False,
                **{**self.head, **head},
            )
            return remember(made)

    def source(self):
        head = keras.saving.serialize_keras_object(self.head)
        return {
            "kind": "task",
            "module": self.task_class.__module__,
            "name": self.task_class.__qualname__,
            "backbone": self.backbone.source(),
            "head": head,
        }


def _forgotten(backbone):
    """Arguments that a backbone was made with and its config lacks, such as
    `tie_word_embeddings` of KerasHub's Llama."""
    known = backbone.get_config()
    return {
        name: getattr(backbone, name)
        for name, argument in inspect.signature(
            type(backbone)
        ).parameters.items()
        if name not in known
        and argument.kind is argument.POSITIONAL_OR_KEYWORD
        and argument.default is not argument.empty
        and getattr(backbone, name, argument.default) != argument.default
    }
