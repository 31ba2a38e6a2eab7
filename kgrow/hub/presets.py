"""Presets of grown models: a folder of KerasHub, with the receipts beside."""

import json
import pathlib

from kgrow import backend
from kgrow.algebra.errors import FileError, GrowthError
from kgrow.growth.growable_model import GrowableModel
from kgrow.hf.model_card import card, claim_list, size_table
from kgrow.hf.output_folder import new_folder
from kgrow.hub.keras_hub_import import keras_hub

CARD = "README.md"
RECEIPTS = "kgrow_receipts.json"
_ON_HUGGING_FACE = "hf://"
# What the Hugging Face Hub calls the tasks, as far as KerasHub's have names.
_PIPELINES = {
    "CausalLM": "text-generation",
    "ImageClassifier": "image-classification",
    "MaskedLM": "fill-mask",
    "TextClassifier": "text-classification",
}


def save_to_preset(model, folder, receipts=None):
    """Writes a preset of KerasHub, with a model card that holds the receipts.

    The preset is what `save_to_preset()` of the task or the backbone writes;
    `from_preset()` reads it, without kgrow. `README.md` tells each growth, and
    `kgrow_receipts.json` has the receipts as data.

    Args:
        model: `GrowableModel` around a task or a backbone of KerasHub, or one
            of these itself.
        folder: path of a folder that is not there yet.
        receipts: list of `Receipt`s; by default those of the model. For what
            `to_hub()` made of a model, pass `model.growth_history`.

    Raises:
        FileError: the folder is there already, or cannot be made.
        GrowthError: the model is none of KerasHub's.

    Example:

    >>> import json, pathlib, tempfile, keras_hub, kgrow
    >>> model = kgrow.models.GPT2.small(num_heads=2)
    >>> receipt = model.grow({"intermediate_dim": 16})
    >>> folder, task = tempfile.mkdtemp() + "/new", kgrow.hub.to_hub(model)
    >>> save_to_preset(task, folder, model.growth_history)
    >>> keras_hub.models.Backbone.from_preset(folder).intermediate_dim
    16
    >>> (data,) = json.loads(pathlib.Path(folder, RECEIPTS).read_text())
    >>> data["target_config"]["intermediate_dim"]
    16
    """
    growable = isinstance(model, GrowableModel)
    network = model.network if growable else model
    models = keras_hub().models
    if not isinstance(network, (models.Task, models.Backbone)):
        raise GrowthError(
            "A preset is made of a task or a backbone of KerasHub, or of a "
            "`GrowableModel` around one; `kgrow.hub.to_hub()` makes a task of "
            f"a model of `kgrow.models`. Received: model={model!r}"
        )
    if growable:
        backend.sync(model)
    if receipts is None:
        receipts = model.growth_history if growable else []
    with new_folder(folder) as beside:
        network.save_to_preset(str(beside))
        data = json.dumps([r.to_dict() for r in receipts], indent=2)
        (beside / RECEIPTS).write_text(data + "\n", "utf-8")
        (beside / CARD).write_text(_card(network, receipts), "utf-8")


def upload_preset(uri, preset):
    """Uploads a preset, as `keras_hub.upload_preset()` does, with its card.

    KerasHub writes a card of its own where a repository has none, over the
    one in the folder. So the card goes first; it replaces one that is there.

    Args:
        uri: string, `"hf://[owner/]name"`, or `"kaggle://..."`.
        preset: path of a folder that `save_to_preset()` wrote.

    Raises:
        FileError: there is no such folder, or no card in it.
        ImportError: `huggingface_hub` is not installed.

    Example:

    >>> upload_preset("hf://me/larger", "preset")  # doctest: +SKIP
    """
    preset = pathlib.Path(preset)
    if not (preset / CARD).is_file() or not (preset / RECEIPTS).is_file():
        raise FileError(
            f"A preset is a folder with {CARD!r} and {RECEIPTS!r} in it, as "
            "`kgrow.hub.save_to_preset()` writes it; write one first. "
            f"Received: preset={str(preset)!r}"
        )
    if uri.startswith(_ON_HUGGING_FACE):
        _upload_card(uri.removeprefix(_ON_HUGGING_FACE), preset / CARD)
    keras_hub().upload_preset(uri, str(preset))


def _upload_card(repository, path):
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "hf:// names are uploaded by huggingface_hub. Install it with: "
            "pip install huggingface_hub"
        ) from error
    made = huggingface_hub.create_repo(repo_id=repository, exist_ok=True)
    huggingface_hub.upload_file(
        path_or_fileobj=path, path_in_repo=CARD, repo_id=made.repo_id
    )


def _card(network, receipts):
    name = type(network).__name__
    paragraphs = [
        f"A model of KerasHub, which `keras_hub.models.{name}.from_preset()` "
        "loads on JAX,\nTensorFlow and PyTorch. kgrow made it larger while it "
        f"trained; growths: {len(receipts)}."
    ]
    for number, receipt in enumerate(receipts, 1):
        paragraphs += [f"## Growth {number}", *growth_paragraphs(receipt)]
    paragraphs.append(f"`{RECEIPTS}` holds the same as data.")
    return card(_metadata(network), f"A grown {name}", *paragraphs)


def growth_paragraphs(receipt):
    """What a card says of one growth: paragraphs of Markdown."""
    at = "" if receipt.step is None else f", at step {receipt.step:,}"
    claim = "claimed to be kept" if receipt.exact else "not claimed to be kept"
    return (
        f"By `{receipt.strategy}`, seed {receipt.seed}{at}.",
        size_table(receipt),
        f"The function is {claim}; on a probe the outputs differ by "
        f"{receipt.relative_diff:.1e} of their\nsize "
        f"(rounding {receipt.tolerance:.0e}):",
        claim_list(receipt),
    )


def _metadata(network):
    models = keras_hub().models
    lines = ["library_name: keras-hub"]
    for task, pipeline in _PIPELINES.items():
        if isinstance(network, getattr(models, task)):
            lines.append(f"pipeline_tag: {pipeline}")
    return lines
