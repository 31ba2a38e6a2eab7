"""The two GELUs, as accurate as the dtype they are computed in."""

import math

import keras
from keras import ops

from kgrow.layers.float64 import exact_float64


@keras.saving.register_keras_serializable("kgrow")
def gelu_exact(x):
    """Gaussian error linear unit, `x * Phi(x)`.

    Equal to `keras.activations.gelu`, except that in float64 its constants
    are float64 on every backend; TensorFlow's own are rounded to float32.

    Args:
        x: tensor of any shape.

    Returns:
        A tensor with the shape and dtype of `x`.

    Example:

    >>> float(gelu_exact(keras.ops.zeros(())))
    0.0

    Reference:

    - [Hendrycks and Gimpel, 2016](https://arxiv.org/abs/1606.08415)
    """
    if keras.backend.standardize_dtype(x.dtype) != "float64":
        return keras.activations.gelu(x, approximate=False)
    with exact_float64():
        return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable("kgrow")
def gelu_approximate(x):
    """Gaussian error linear unit with its tanh approximation.

    What GPT-2 was trained with. Equal to `keras.activations.gelu` with
    `approximate=True`, except that in float64 its constants are float64 on
    every backend; TensorFlow's own are rounded to float32.

    Args:
        x: tensor of any shape.

    Returns:
        A tensor with the shape and dtype of `x`.

    Example:

    >>> float(gelu_approximate(keras.ops.zeros(())))
    0.0

    Reference:

    - [Hendrycks and Gimpel, 2016](https://arxiv.org/abs/1606.08415)
    """
    if keras.backend.standardize_dtype(x.dtype) != "float64":
        return keras.activations.gelu(x, approximate=True)
    with exact_float64():
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1.0 + ops.tanh(inner))
