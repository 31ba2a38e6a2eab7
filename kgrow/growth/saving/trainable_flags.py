"""Layers and weights that were frozen by hand.

Keras' files of weights do not hold `trainable`. Layers and weights are stored
by position, as Keras may have made their names up.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from kgrow.algebra.errors import FileError
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.scopes import relative_to
from kgrow.growth.freezing_masks import Masks


def untrainable(network: keras.Model, frozen: Masks) -> dict[str, list[int]]:
    """Layers and weights of a network that do not train, as JSON data.

    Args:
        network: a built `keras.Model`.
        frozen: `{path: mask}` of entries frozen by growths, not included.

    Returns:
        dict of the numbers of `layers` and of `weights`.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.network.input_dense.trainable = False
    >>> untrainable(model.network, {})
    {'layers': [0], 'weights': [0, 1]}
    """
    return {
        "layers": [
            i for i, layer in enumerate(_layers(network)) if not layer.trainable
        ],
        "weights": [
            i
            for i, weight in enumerate(grown_weights(network))
            if not weight.trainable
            and not np.all(frozen.get(relative_path(network, weight), False))
        ],
    }


def frozen_already(
    network: keras.Model, frozen: Masks, saved: Mapping[str, list[int]]
) -> bool:
    """Whether `set_untrainable()` would freeze nothing more."""
    own = untrainable(network, frozen)
    return all(set(saved[kind]) <= set(own[kind]) for kind in own)


def set_untrainable(
    network: keras.Model,
    saved: Mapping[str, list[int]],
    old: keras.Model,
    frozen: Masks,
) -> None:
    """Freezes what `untrainable()` found in a network like this one, layers
    that are frozen in another, and entries that growths froze.

    Args:
        network: a built `keras.Model`.
        saved: dict, see `untrainable()`.
        old: a network whose layers, where they have the same names, choose
            as well.

    Raises:
        FileError: there are not as many layers or weights.
    """
    layers, weights = _layers(network), grown_weights(network)
    for kind, there in (("layers", layers), ("weights", weights)):
        if max(saved[kind], default=-1) >= len(there):
            raise FileError(
                f"The file freezes {kind} that the network does not have: it "
                "was changed, or is of another network. Received: "
                f"{saved[kind]} of {len(there)}"
            )
    chosen = {_path(old, r) for r in _layers(old) if not r.trainable}
    # A layer's flag sets those inside it, which come after it.
    for i, layer in enumerate(layers):
        frozen_by_hand = i in saved["layers"] or _path(network, layer) in chosen
        layer.trainable = not frozen_by_hand
    for weight in weights:
        mask = frozen.get(relative_path(network, weight))
        if mask is not None:
            weight.trainable = not mask.all()
    for i in saved["weights"]:
        weights[i].trainable = False


def _layers(network):
    return network._flatten_layers(include_self=False)


def _path(network, layer):
    return relative_to(network, layer.path or layer.name)
