"""Attention over one sequence axis, with stable names."""

import keras
import numpy as np
from keras import ops

from kgrow.layers.dropout import Dropout


@keras.saving.register_keras_serializable("kgrow")
class MultiHeadAttention(keras.layers.MultiHeadAttention):
    """The stock attention layer for inputs `(batch, length, features)`.

    It computes what `keras.layers.MultiHeadAttention` computes and has the
    same variables. What differs:

    - the dropout on the attention scores has a name, and its seed state a
      path, that do not depend on what was built before;
    - a causal mask is compared from two ranges instead of summed up over a
      `(length, length)` matrix, which compilers take long to fold away.

    Example:

    >>> layer = MultiHeadAttention(num_heads=2, key_dim=4)
    >>> x = keras.ops.zeros((1, 3, 8))
    >>> layer(x, x).shape == (1, 3, 8)
    True

    Args:
        num_heads: int, the number of heads.
        key_dim: int, the size of one head.
        **kwargs: of `keras.layers.MultiHeadAttention`.
    """

    def _build_attention(self, rank):
        if rank != 4:
            raise ValueError(
                "The inputs must have shape (batch, length, features). "
                f"Received: inputs of rank {rank - 1}"
            )
        self._attention_axes = (1,)
        self._dot_product_equation = "bsnh,btnh->bnts"
        self._combine_equation = "bnts,bsnh->btnh"
        if self.compute_dtype == "float64":
            # TensorFlow would round a Python float to float32 on its way.
            self._inverse_sqrt_key_dim = np.float64(self._inverse_sqrt_key_dim)
        self._softmax = keras.layers.Softmax(
            dtype=self.dtype_policy, name="attention_softmax"
        )
        self._dropout_layer = Dropout(
            self._dropout,
            seed=self.seed,
            dtype=self.dtype_policy,
            name="attention_dropout",
        )
        self._dropout_layer.build()

    def _compute_causal_mask(self, query, value=None):
        value = query if value is None else value
        rows = ops.arange(ops.shape(query)[1])
        columns = ops.arange(ops.shape(value)[1])
        return (rows[:, None] >= columns)[None]
