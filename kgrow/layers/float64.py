"""True float64 arithmetic in stock Keras layers, on every backend."""

import contextlib
import functools

from kgrow.backend.keras_internals import BIT64_TO_BIT32_DTYPE

_PROMOTIONS = BIT64_TO_BIT32_DTYPE


@contextlib.contextmanager
def exact_float64():
    """Lets Keras operations on float64 tensors compute in float64.

    Outside TensorFlow, Keras promotes float64 operands to float32 (as JAX
    does unless told otherwise). On JAX that catches `layer_normalization`,
    `mean` and `dot_product_attention`, on torch even `matmul`, so that a layer
    with `dtype="float64"` returns float64 numbers with float32 errors. Inside
    this context float64 stays float64. Operations on other dtypes are
    unaffected.

    Losses, metrics and optimizers are subject to the same rule: put the whole
    computation inside the context to have them exact as well. On JAX float64
    must also be enabled, with `jax.config.update("jax_enable_x64", True)`.

    Example:

    >>> import keras
    >>> with exact_float64():
    ...     print(keras.backend.result_type("float64", "float32"))
    float64
    """
    previous = _PROMOTIONS["float64"]
    _PROMOTIONS["float64"] = "float64"
    try:
        yield
    finally:
        _PROMOTIONS["float64"] = previous


def float64_exact(call):
    """Runs a layer's `call` under `exact_float64` if the layer is float64.

    For any other dtype the method runs as it is. Nothing of this is left in a
    compiled step: the context is entered while the step is being traced.

    Args:
        call: method of a `keras.layers.Layer`.

    Returns:
        The method, with the same signature.

    Example:

    >>> import keras
    >>> class Twice(keras.layers.Layer):
    ...     @float64_exact
    ...     def call(self, inputs):
    ...         return keras.ops.add(inputs, inputs)
    >>> Twice()(keras.ops.ones((2, 3))).shape == (2, 3)
    True
    """

    @functools.wraps(call)
    def wrapper(self, *args, **kwargs):
        if self.compute_dtype != "float64":
            return call(self, *args, **kwargs)
        with exact_float64():
            return call(self, *args, **kwargs)

    return wrapper
