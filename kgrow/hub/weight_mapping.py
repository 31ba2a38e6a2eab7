"""How a family of `kgrow.models` and its model in KerasHub correspond."""

from dataclasses import dataclass, field

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError

_BLOCK = "{block}"


@dataclass(frozen=True)
class Twin:
    """A family, the matching KerasHub model, and the names of corresponding
    weights.

    Attributes:
        family: class of `kgrow.models`.
        backbone: string, its backbone in `keras_hub.models`.
        task: string, the task there that has the family's head.
        weights: dict from the family's paths to KerasHub's. `{block}` is a
            block's number. A tuple of paths lies in one table there, one
            behind the other.
        head: names of the family's layers that only the task has.
        block: number of the first block in KerasHub.
        fields: dict from the family's config fields to the backbone's.
        task_fields: the same, to the task's own.
        fixed: dict of the values, by field, of what the family can vary and
            KerasHub cannot.
        backbone_fixed: dict from the backbone's fields to the tuple of values
            that the family can represent.
        task_fixed: the same for the task's own fields.
        lost: layers of the backbone that the family has none for, and that
            the task does not read.
        halves: dict from paths of the family's head to those of a second head
            that the family takes the mean with, and the task has not.
        square_images: whether sizes of images are `(height, width, channels)`
            there and `image_size` and `num_channels` here.
    """

    family: type
    backbone: str
    task: str
    weights: dict
    head: tuple = ()
    block: int = 0
    fields: dict = field(default_factory=dict)
    task_fields: dict = field(default_factory=dict)
    fixed: dict = field(default_factory=dict)
    backbone_fixed: dict = field(default_factory=dict)
    task_fixed: dict = field(default_factory=dict)
    lost: tuple = ()
    halves: dict = field(default_factory=dict)
    square_images: bool = False

    def pairs(self, num_layers):
        """`[(paths of the family, path of KerasHub)]` of all weights."""
        found = []
        for paths, there in self.weights.items():
            paths = paths if isinstance(paths, tuple) else (paths,)
            blocks = range(num_layers) if _BLOCK in there else (0,)
            for number in blocks:
                place = {"block": number}
                found.append(
                    (
                        tuple(path.format(**place) for path in paths),
                        there.format(block=number + self.block),
                    )
                )
        return found

    def in_head(self, path):
        """Whether a path of the family's is one of its head."""
        return path.split("/")[0] in self.head

    def values_here(self, values, shapes, num_layers):
        """`{path: array}` of the family, from KerasHub's.

        Args:
            values: dict from KerasHub's paths to arrays; those of the head
                may be missing.
            shapes: dict from the family's paths to shapes.
            num_layers: int.
        """
        made = {}
        for paths, there in self.pairs(num_layers):
            if there not in values:
                continue
            rows = [_rows(shapes[path]) for path in paths]
            value = values[there]
            if len(paths) > 1:
                value = value.reshape(-1, value.shape[-1])
                parts = np.split(value, np.cumsum(rows)[:-1])
            else:
                parts = [value]
            for path, part in zip(paths, parts, strict=True):
                made[path] = part.reshape(shapes[path])
        for path, silent in self.halves.items():
            if path in made:
                made[path], made[silent] = 2 * made[path], 0 * made[path]
        return made

    def values_there(self, values, shapes, num_layers):
        """`{path: array}` of KerasHub, from the family's.

        Args:
            values: dict from the family's paths to arrays.
            shapes: dict from KerasHub's paths to shapes; those that the
                family has nothing for are left out.
            num_layers: int.
        """
        values = dict(values)
        for path, silent in self.halves.items():
            if np.any(values[silent]):
                raise GrowthError(
                    f"`keras_hub.models.{self.task}` reads the class token "
                    "alone, and the model's answer is the mean of two. "
                    "Convert the backbone, with `task=False`. Received: "
                    f"{silent!r} with other values than zeros"
                )
            values[path] = values[path] / 2
        made = {}
        for paths, there in self.pairs(num_layers):
            if there in shapes:
                parts = [values[path] for path in paths]
                if len(parts) > 1:
                    parts = [p.reshape(-1, p.shape[-1]) for p in parts]
                made[there] = np.concatenate(parts).reshape(shapes[there])
        return made

    def config_here(self, backbone, task):
        """The family's config fields.

        Args:
            backbone: a backbone of KerasHub.
            task: the task around it, or `None`.

        Raises:
            GrowthError: a field has a value that the family cannot have.
        """
        there = backbone.get_config()
        _check_fixed(self.family.__name__, there, self.backbone_fixed)
        config = {here: there[name] for here, name in self.fields.items()}
        if task is not None:
            more = task.get_config()
            _check_fixed(self.family.__name__, more, self.task_fixed)
            config.update({h: more[n] for h, n in self.task_fields.items()})
        if self.square_images:
            config.update(_image_fields(self.family.__name__, backbone))
        return {**config, **self.fixed}

    def configs_there(self, config):
        """`(fields of the backbone, fields of the task)`.

        Raises:
            GrowthError: a field has a value that KerasHub's model cannot have.
        """
        for name, value in self.fixed.items():
            if name in config and config[name] != value:
                raise GrowthError(
                    f"`keras_hub.models.{self.backbone}` has {name}={value} "
                    "and nothing else. If it is one of the model's "
                    f"training_options, set it with "
                    f"`set_training_options({name}={value!r})` "
                    f"first. Received: {name}={config[name]!r}"
                )
        size = config["num_heads"] * config["head_dim"]
        if size != config["hidden_dim"]:
            raise GrowthError(
                f"`keras_hub.models.{self.backbone}` has heads of the size "
                "`hidden_dim // num_heads`. Grow `num_heads` or `head_dim` "
                "until their product is `hidden_dim`, with a strategy that "
                f"keeps the function. Received: {config['num_heads']} heads "
                f"of {config['head_dim']}, hidden_dim={config['hidden_dim']}"
            )
        inner = {name: config[here] for here, name in self.fields.items()}
        head = {name: config[here] for here, name in self.task_fields.items()}
        if self.square_images:
            side = config["image_size"]
            inner["image_shape"] = (side, side, config["num_channels"])
            inner["data_format"] = "channels_last"
        return inner, head


def _rows(shape):
    return int(np.prod(shape[:-1]))


def _check_fixed(family, config, fixed):
    for name, values in fixed.items():
        value = config[name]
        if name == "activation" and value is not None:
            value = keras.activations.serialize(keras.activations.get(value))
        if value not in values:
            raise GrowthError(
                f"`kgrow.models.{family}` has nothing for {name}={value!r}, "
                f"only for {' or '.join(map(repr, values))}. A rate of "
                "dropout changes no weights: build the model anew without, "
                "and give it these. Or grow it as it is: "
                "`kgrow.GrowableModel(network)`."
            )


def _image_fields(family, backbone):
    height, width, channels = backbone.image_shape
    patch = backbone.patch_size
    patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
    square = height == width and patch[0] == patch[1]
    if not square or backbone.data_format != "channels_last":
        raise GrowthError(
            f"`kgrow.models.{family}` takes square images of square patches, "
            "channels last. Grow the network as it is: "
            "`kgrow.GrowableModel(network)`. Received: "
            f"image_shape={backbone.image_shape}, patch_size={patch}, "
            f"data_format={backbone.data_format!r}"
        )
    return {
        "image_size": height,
        "num_channels": channels,
        "patch_size": patch[0],
    }
