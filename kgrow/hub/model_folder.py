"""A folder of `transformers` as a growable model, and back into a folder."""

import json
import pathlib
import warnings

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import set_untracked
from kgrow.backend.lazy_variables import without_values
from kgrow.growth.growable_model import GrowableModel
from kgrow.hf.architectures import table_of
from kgrow.hf.checkpoint import CONFIG, open_checkpoint
from kgrow.hf.folder_spec import source_spec, target_spec
from kgrow.hf.hub_download import local_folder
from kgrow.hf.model_card import card, kept_metadata
from kgrow.hf.output_folder import new_folder
from kgrow.hf.shards import (
    SHARD_BYTES,
    NewTensor,
    append_array,
    divide,
    new_shard,
    write_index,
)
from kgrow.hub.folder_axes import folder_axes
from kgrow.hub.folder_values import tensor_of_values, values_of_folder
from kgrow.hub.folders import hub_table_of
from kgrow.hub.keras_hub_import import keras_hub
from kgrow.hub.network_values import (
    fill_network,
    network_shapes,
    network_values,
)
from kgrow.hub.presets import CARD, RECEIPTS, growth_paragraphs

_ORIGIN = "_folder_origin"


def load_folder(folder, preprocessor=None, dtype="float32", axes=None):
    """A growable model with the weights of a folder of `transformers`.

    The model wraps the task of KerasHub that computes the same. Weights go
    through kgrow's tables of tensors, not through KerasHub's converters.

    Args:
        folder: path of a folder with `config.json` and safetensors, or
            `"hf://owner/name"`, which `huggingface_hub` downloads.
        preprocessor: optional preprocessor of KerasHub, such as
            `keras_hub.models.CausalLMPreprocessor.from_preset(folder)`; without
            one the model takes token ids.
        dtype: of the weights and of what is computed.
        axes: see `GrowableModel`; by default those that `kgrow.hf` has for
            the folder's tensors.

    Returns:
        `GrowableTask`, compiled as KerasHub's tasks are.

    Raises:
        FileError: the folder is not whole.
        GrowthError: KerasHub has no such model, or computes something else.

    Example:

    >>> model = load_folder("smollm2")  # doctest: +SKIP
    >>> model.grow({"num_layers": 40}, "identity")  # doctest: +SKIP
    >>> save_folder(model, "smollm2-40")  # doctest: +SKIP
    """
    task, folder = read_task(folder, preprocessor, dtype)
    if axes is None:
        checkpoint = open_checkpoint(folder)
        table = table_of(checkpoint.config)
        own = hub_table_of(checkpoint.config)
        axes = folder_axes(checkpoint.tensors, table, own, task.backbone)
    model = GrowableModel(task, axes)
    set_untracked(model, _ORIGIN, str(folder))
    return model


def read_task(folder, preprocessor=None, dtype="float32"):
    """`(task of KerasHub, path of the local folder)`, see `load_folder()`."""
    folder = local_folder(folder)
    checkpoint = open_checkpoint(folder)
    config = checkpoint.config
    table = hub_table_of(config)
    layouts = source_spec(checkpoint, table_of(config)).layouts
    options = table.backbone_config(config)
    _warn_of_differences(table, config)
    models = keras_hub().models
    with without_values():
        backbone = getattr(models, table.backbone)(dtype=dtype, **options)
        task = getattr(models, table.task_of(config))(
            backbone=backbone, preprocessor=preprocessor, compile=False
        )
    shapes = network_shapes(task)
    fill_network(task, values_of_folder(checkpoint, layouts, table, shapes))
    task.compile()
    return task, folder


def save_folder(model, folder, like=None, shard_bytes=SHARD_BYTES):
    """Writes a growable model as a folder that `transformers` loads.

    `config.json` has the model's sizes under its own field names, and beside
    the weights are the files of the tokenizer, a model card and
    `kgrow_receipts.json`. The folder is there whole or not at all.

    Args:
        model: `GrowableModel` around a task of KerasHub, or the task.
        folder: path of the folder to make.
        like: path of a folder of the same architecture, whose config, dtype
            and other files are taken; by default the one that
            `load_folder()` read.
        shard_bytes: int, the most bytes in a file of weights.

    Raises:
        FileError: `folder` is there already, or `like` is not whole.
        GrowthError: the model is of another architecture than `like`, or it
            was not read from a folder and `like` is not given.
        OSError: the disk is full.
    """
    growable = isinstance(model, GrowableModel)
    network = model.network if growable else model
    like = like or getattr(model, _ORIGIN, None)
    if like is None:
        raise GrowthError(
            "The config and the tokenizer come from a folder of the same "
            "architecture, and this model was not read from one. Pass it: "
            "save_folder(model, folder, like='smollm2')."
        )
    if growable:
        backend.sync(model)
    checkpoint = open_checkpoint(local_folder(like))
    table, axes = hub_table_of(checkpoint.config), table_of(checkpoint.config)
    _check_kind(network, table, checkpoint)
    config = table.config_of(checkpoint.config, network.backbone)
    target = target_spec(source_spec(checkpoint, axes), axes, config)
    receipts = model.growth_history if growable else []
    with new_folder(folder) as beside:
        values = network_values(network)
        _write_weights(
            beside, target.layouts, table, values, checkpoint, shard_bytes
        )
        _write_text(beside, checkpoint, config, receipts, like)


def _warn_of_differences(table, config):
    found = table.differences(config)
    if found:
        warnings.warn(
            f"KerasHub's {table.backbone} does not compute quite what the "
            f"folder's model does: {'; '.join(found)}. What is written back is "
            "a folder like the one that was read.",
            stacklevel=4,
        )


def _check_kind(network, table, checkpoint):
    name = type(network).__name__
    if name != table.task_of(checkpoint.config):
        raise GrowthError(
            f"The folder {str(checkpoint.folder)!r} is of a "
            f"{table.task_of(checkpoint.config)}. Received: a {name}"
        )


def _write_weights(folder, layouts, table, values, checkpoint, shard_bytes):
    tensors = [NewTensor(t.name, t.dtype, t.shape) for t in layouts.values()]
    shards = divide(tensors, shard_bytes)
    for name, shard in shards.items():
        with new_shard(folder / name, shard, checkpoint.metadata) as file:
            for tensor in shard:
                layout = layouts[tensor.name]
                append_array(file, tensor_of_values(layout, table, values))
    write_index(folder, shards)


def _write_text(folder, checkpoint, config, receipts, like):
    for name in checkpoint.carried:
        content = (checkpoint.folder / name).read_bytes()
        (folder / name).write_bytes(content)
    _write_json(folder / CONFIG, config)
    _write_json(folder / RECEIPTS, [r.to_dict() for r in receipts])
    paragraphs = [
        f"Made by kgrow from `{pathlib.Path(like).name}`, which was loaded "
        f"into Keras; growths: {len(receipts)}."
    ]
    for number, receipt in enumerate(receipts, 1):
        paragraphs += [f"## Growth {number}", *growth_paragraphs(receipt)]
    title = f"A grown {config['model_type']}"
    text = card(kept_metadata(checkpoint.folder), title, *paragraphs)
    (folder / CARD).write_text(text, "utf-8")


def _write_json(path, content):
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
