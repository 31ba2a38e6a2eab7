"""Layers and weights that were frozen by hand, which files of weights of
Keras do not hold.

By their places in the network, as their names may be made up.
"""

import numpy as np

from kgrow.algebra.errors import FileError
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.scopes import relative_to


def untrainable(network, frozen):
    """What does not train in a network, as data that JSON can hold.

    Args:
        network: a built `keras.Model`.
        frozen: `{path: mask}` of what growths let rest, which is not meant.

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


def rests_already(network, frozen, saved):
    """Whether nothing has to be frozen for `set_untrainable()`."""
    own = untrainable(network, frozen)
    return all(set(saved[kind]) <= set(own[kind]) for kind in own)


def set_untrainable(network, saved, old, frozen):
    """Freezes what `untrainable()` found in a network like this one, layers
    that are frozen in another, and what growths let rest.

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
        rests = i in saved["layers"] or _path(network, layer) in chosen
        layer.trainable = not rests
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
