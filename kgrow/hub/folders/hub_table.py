"""How a task of KerasHub and a folder of `transformers` say the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.types import Config

_TABLES: dict[str, HubTable] = {}
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True)
class HubTable:
    """One architecture in both notations; read in both directions.

    Args:
        backbone: string, the class in `keras_hub.models`.
        tasks: dict from entries of a config's `architectures` to classes of
            tasks.
        fields: dict from fields of the backbone to those of `config.json`.
        paths: dict from names of tensors, without `prefix`, to paths of the
            task's variables. `{i}` is the number of a block, and `name#part`
            is a part of a packed tensor.
        prefix: string that names may begin with.
        fixed: dict from fields of a config to the values with which KerasHub's
            network computes the same.
        epsilons: dict from fields of a config, constants inside norms, to the
            values that KerasHub's network has whatever the config says.
        differs: sentences on what else KerasHub's network computes otherwise.
        options: function of a config to other fields of the backbone.
        settle: function of `(config, backbone)`: a config's fields that follow
            from the backbone's, in place.
        axes: dict from paths of the variables that a folder may lack to their
            axes.
        optional: beginnings of the paths of variables that a folder may lack.
        transposed: ends of the paths of variables whose file has (out, in).
        period: int. A block does what its number, modulo the period, says.
        per_head: ends of the paths of variables (heads, in, head size).
    """

    backbone: str
    tasks: Mapping[str, str]
    fields: Mapping[str, str]
    paths: Mapping[str, str]
    prefix: str = ""
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    epsilons: Mapping[str, float] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    options: Callable[[Config], dict[str, Any]] = lambda config: {}
    settle: Callable[[dict[str, Any], Any], None] | None = None
    axes: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    transposed: tuple[str, ...] = ("/kernel", "/reverse_embeddings")
    period: int = 1
    per_head: tuple[str, ...] = ()

    def path_of(self, name: str, block: str | None = None) -> str:
        """The path of the variable that a tensor, or a part of one, holds.

        Args:
            name: string, of a tensor, or `tensor#part`.
            block: string that stands for the number of the block; by default
                the number in the name.

        Raises:
            GrowthError: the task has none.
        """
        short = name.removeprefix(self.prefix)
        number = _NUMBER.search(short)
        template = self.paths.get(_NUMBER.sub("{i}", short, count=1))
        if template is None:
            raise GrowthError(
                f"The tensor {name!r} has no place in KerasHub's "
                f"{self.backbone}. Grow the folder as it is, with "
                "`kgrow.hf.grow()`."
            )
        own = number[0] if number else ""
        return template.format(i=own if block is None else block)

    def task_of(self, config: Config) -> str:
        """The class of the task that a config names.

        Raises:
            GrowthError: KerasHub has no such task.
        """
        named = config.get("architectures") or list(self.tasks)[:1]
        found = [self.tasks[name] for name in named if name in self.tasks]
        if not found:
            raise GrowthError(
                "The folder's model has no task in KerasHub here. Received: "
                f"architectures={named}. There are: {', '.join(self.tasks)}"
            )
        return found[0]

    def backbone_config(self, config: Config) -> dict[str, Any]:
        """The backbone's fields.

        Raises:
            GrowthError: the config asks for what KerasHub does not compute.
        """
        for name, values in self.fixed.items():
            if config.get(name, values[0]) not in values:
                raise GrowthError(
                    f"KerasHub's {self.backbone} computes with {name} in "
                    f"{list(values)} only. Received: {name}={config[name]!r}. "
                    "Grow the folder as it is, with `kgrow.hf.grow()`."
                )
        found = {here: config[there] for here, there in self.fields.items()}
        return {**found, **self.options(config)}

    def differences(self, config: Config) -> list[str]:
        """What KerasHub's network computes otherwise than the folder's."""
        return [
            *self.differs,
            *(
                f"some norms add {there:g} to the variance, and the folder has "
                f"{name}={config[name]:g}"
                for name, there in self.epsilons.items()
                if config.get(name, there) != there
            ),
        ]

    def config_of(self, config: Config, backbone: Any) -> dict[str, Any]:
        """A folder's config with the sizes of a backbone."""
        found = dict(config)
        for here, there in self.fields.items():
            found[there] = getattr(backbone, here)
        if self.settle is not None:
            self.settle(found, backbone)
        return found


def register(*model_types: str) -> Callable[[HubTable], HubTable]:
    """Function that registers a `HubTable` for some model types."""

    def add(table: HubTable) -> HubTable:
        for name in model_types:
            _TABLES[name] = table
        return table

    return add


def model_types() -> list[str]:
    """All model types that have a table, sorted."""
    return sorted(_TABLES)


def hub_table_of(config: Config) -> HubTable:
    """The `HubTable` of a config.

    Raises:
        GrowthError: its model type has none.
    """
    name = config.get("model_type")
    if name not in _TABLES:
        raise GrowthError(
            "There is no task of KerasHub for this `model_type` here. "
            f"Received: {name!r}. There are: {', '.join(model_types())}. "
            "`kgrow.hf.grow()` grows other folders without Keras."
        )
    return _TABLES[name]
