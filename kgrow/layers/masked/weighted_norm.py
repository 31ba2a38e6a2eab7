"""Statistics over gated features, shared by the norms."""

from keras import ops


def weighted_mean(x, gate):
    """Mean along the last axis, each entry with its gate as weight.

    Args:
        x: tensor of shape `(..., features)`.
        gate: tensor of shape `(features,)`, not all zero.

    Returns:
        Tensor of shape `(..., 1)`.

    Example:

    >>> import keras
    >>> x = keras.ops.convert_to_tensor([[1.0, 3.0, 9.0]])
    >>> weighted_mean(x, keras.ops.convert_to_tensor([1.0, 1.0, 0.0])).tolist()
    [[2.0]]
    """
    return ops.sum(x * (gate / ops.sum(gate)), axis=-1, keepdims=True)
