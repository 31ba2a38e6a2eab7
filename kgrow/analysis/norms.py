"""How long the weights of a network are, layer by layer."""

import math

import keras

from kgrow import backend
from kgrow.architecture.architecture import grown_weights


def weight_norms(model, matrices_only=True):
    """Frobenius norms of a model's weights, by variable and block.

    Args:
        model: `GrowableModel`.
        matrices_only: bool, whether vectors (biases, gains) are left out.

    Returns:
        dict from paths, with `{stack}` in place of the number of a block, to
        lists of numbers: one a block, in their order, or a single one.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=3)
    >>> norms = weight_norms(model)
    >>> [len(blocks) for blocks in norms.values()]
    [1, 3, 3, 1]
    """
    backend.sync(model)
    spec, norms = model.architecture.spec, {}
    weights = grown_weights(model.network)
    for variable, weight in zip(spec.variables.values(), weights, strict=True):
        if matrices_only and not _is_matrix(variable):
            continue
        values = keras.ops.cast(weight, "float32")
        # On the device, where the weights may be spread over several.
        square = keras.ops.convert_to_numpy(keras.ops.sum(values * values))
        norm = math.sqrt(float(square))
        name = variable.template or variable.path
        norms.setdefault(name, {})[variable.block] = norm
    return {
        name: [blocks[b] for b in sorted(blocks, key=lambda b: b or 0)]
        for name, blocks in norms.items()
    }


def _is_matrix(variable):
    """Whether it reads along some axis and writes along another; a bias of
    several axes only writes."""
    written = str(variable.axes)
    return len(variable.shape) > 1 and not written.startswith("->")
