"""Models of `kgrow.models` from KerasHub's, and back."""

import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.backend.lazy_variables import without_values
from kgrow.growth.growable_model import GrowableModel
from kgrow.hub import bert, deit, gpt2, roberta, vit
from kgrow.hub.keras_hub_import import keras_hub
from kgrow.hub.network_values import (
    fill_network,
    network_shapes,
    network_values,
)

TWINS = (
    gpt2.TWIN,
    bert.TWIN,
    bert.PLAIN_TWIN,
    roberta.TWIN,
    vit.TWIN,
    deit.TWIN,
)


def from_hub(network, num_classes=None):
    """A growable model with the weights and the function of KerasHub's.

    Its outputs are those of the task. Of a backbone it has the outputs in
    `model.network.encode()`, and a head that starts from its initial values.

    Args:
        network: a `GPT2CausalLM`, `BertMaskedLM`, `RobertaMaskedLM`,
            `ViTImageClassifier` or `DeiTImageClassifier` of KerasHub, or the
            backbone of one of these, but for `BertBackbone`.
        num_classes: optional int, for the head of a classifier's backbone.

    Returns:
        `GPT2`, `HubBERT`, `RoBERTa`, `ViT` or `DeiT`. A `DeiT` that comes
        from a task has zeros in its distillation head, and twice the task's
        weights in the other, of which it takes the mean.

    Raises:
        GrowthError: KerasHub has no such model here, or the network has what
            the family cannot represent: the pooled output of `BertBackbone`,
            dropout in an image model, images that are not square.

    Example:

    >>> import kgrow, keras_hub
    >>> backbone = keras_hub.models.GPT2Backbone(vocabulary_size=11,
    ...     num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12,
    ...     max_sequence_length=8)
    >>> model = from_hub(keras_hub.models.GPT2CausalLM(backbone))
    >>> model.grow({"num_layers": 2}).exact
    True
    """
    twin, backbone, task = _twin_of_hub(network)
    config = twin.config_here(backbone, task)
    if task is None and twin.task_fields:
        if num_classes is None:
            raise GrowthError(
                "A backbone does not say how many classes there are. Pass "
                "`num_classes`, or the task around it. Received: "
                f"{type(network).__name__}"
            )
        config["num_classes"] = num_classes
    elif num_classes is not None:
        raise GrowthError(
            "`num_classes` is for the backbone of a classifier. Received: "
            f"num_classes={num_classes} for {type(network).__name__}"
        )
    values = network_values(network)
    known = {there for _, there in twin.pairs(config["num_layers"])}
    lost = sorted({p for p in values if p not in known})
    if lost and (task is None or any(not _is_lost(twin, p) for p in lost)):
        raise GrowthError(
            f"`kgrow.models.{twin.family.__name__}` has nothing for {lost}, "
            f"and what they compute would be lost. Pass a "
            f"`keras_hub.models.{twin.task}`, which does not read them, or "
            "grow the network as it is: `kgrow.GrowableModel(network)`. "
            f"Received: {type(network).__name__}"
        )
    with without_values():
        model = twin.family(dtype=backbone.dtype_policy, **config)
    shapes = network_shapes(model.network)
    made = twin.values_here(values, shapes, config["num_layers"])
    fill_network(model.network, made)
    return model


def to_hub(model, preprocessor=None, task=True):
    """KerasHub's model with the weights and the function of a growable one.

    Args:
        model: `GPT2`, `HubBERT`, `RoBERTa`, `ViT` or `DeiT`; or `BERT`, with
            `task=False`.
        preprocessor: optional preprocessor of KerasHub, for the task.
        task: bool. `False` gives the backbone, whose outputs are those of
            `model.network.encode()`, without the head.

    Returns:
        A task of KerasHub, compiled as it compiles itself; or a backbone. The
        dense layer behind the pooled output of BERT, which a masked language
        model does not train, starts from its initial values.

    Raises:
        GrowthError: the model has what KerasHub's cannot represent: heads
            that do not divide `hidden_dim`, another epsilon, tokens or blocks
            left out in training, dropout in an image model, a gate that is
            still opening, a distillation head.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.GPT2(vocabulary_size=11, num_layers=1,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=12,
    ...     max_sequence_length=8)
    >>> to_hub(model).backbone.count_params() == model.count_params()
    True
    """
    twin = _twin_of_model(model)
    if preprocessor is not None and not task:
        raise GrowthError(
            "A backbone has no preprocessor. Received: "
            f"preprocessor={preprocessor!r} with task=False"
        )
    if task and twin.task is None:
        raise GrowthError(
            "KerasHub's `BertMaskedLM` adds 1e-5 to the variance in the norm "
            "of its head, `kgrow.models.BERT` 1e-12 as in all others. Convert "
            "the backbone with `task=False`, or train a `kgrow.hub.HubBERT`, "
            "which computes what the task does. Received: a BERT"
        )
    backend.sync(model)
    network = model.strip()
    models = keras_hub().models
    inner, head = twin.configs_there(network.get_config())
    with without_values():
        made = getattr(models, twin.backbone)(
            **inner, dtype=network.dtype_policy
        )
        if task:
            made = getattr(models, twin.task)(
                made, preprocessor=preprocessor, compile=False, **head
            )
    values = network_values(network)
    if not task:
        # Nothing is read off a head that is not asked for.
        for path in [p for p in values if twin.in_head(p)]:
            values[path] = np.zeros_like(values[path])
    shapes = network_shapes(made)
    fill_network(made, twin.values_there(values, shapes, network.num_layers))
    if task:
        made.compile()
    return made


def _twin_of_hub(network):
    """`(Twin, backbone, task or None)` of a network of KerasHub."""
    models = keras_hub().models
    for twin in TWINS:
        if twin.task and type(network) is getattr(models, twin.task):
            return twin, network.backbone, network
        if type(network) is getattr(models, twin.backbone):
            return twin, network, None
    known = ", ".join(f"{t.task}, {t.backbone}" for t in TWINS if t.task)
    raise GrowthError(
        f"`network` must be one of KerasHub's {known}. Any other grows as it "
        "is: `kgrow.GrowableModel(network)`. Received: "
        f"{network!r} (of type {type(network).__name__})"
    )


def _twin_of_model(model):
    for twin in TWINS:
        if type(model) is twin.family:
            return twin
    hint = ""
    if isinstance(model, GrowableModel):
        hint = " A model that wraps KerasHub's has it in `model.network`."
    known = ", ".join(twin.family.__name__ for twin in TWINS)
    raise GrowthError(
        f"`model` must be one of {known}.{hint} Received: {model!r} (of type "
        f"{type(model).__name__})"
    )


def _is_lost(twin, path):
    return path.split("/")[0] in twin.lost
