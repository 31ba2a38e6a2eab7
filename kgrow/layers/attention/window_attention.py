"""Attention inside windows, whose heads and their sizes can grow."""

import keras
import numpy as np
from keras import ops

from kgrow.layers import argument_checks
from kgrow.layers.attention.window_position_bias import WindowPositionBias
from kgrow.layers.dropout import Dropout
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.einsum_dense import MaskedEinsumDense


@keras.saving.register_keras_serializable("kgrow")
class WindowAttention(keras.layers.Layer):
    """Self-attention of the tokens of each window among themselves.

    Queries, keys and values have kernels of their own, `(features, num_heads,
    head_dim)`, so that each axis that grows can be seen in a shape.

    Args:
        num_heads: int, the number of attention heads.
        head_dim: int, the size of one head.
        window_size: int, height and width of a window.
        dropout: float in `[0, 1)`, the rate on the attention weights.
        kernel_initializer: initializer of all kernels and of the table.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(batch, windows, window_size², features)`.
        attention_mask: optional Boolean array of shape `(windows,
            window_size², window_size²)`, true where a token may be attended
            to.
        training: bool or `None`.
        gates: optional dict as `Gates` makes it, of which `"heads"`,
            `"value"` and `"qk"` are used, as in `HeadExtensibleAttention`.

    Output shape:
        The same as `inputs`.

    Raises:
        GrowthError: a size is no positive integer, or `dropout` is not in
            `[0, 1)`.

    Example:

    >>> layer = WindowAttention(num_heads=2, head_dim=4, window_size=2)
    >>> layer(keras.ops.zeros((1, 3, 4, 8))).shape == (1, 3, 4, 8)
    True

    Reference:

    - Liu et al., "Swin Transformer" (2103.14030), Sec. 3.2. The public code
      has one kernel for queries, keys and values.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        window_size,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = argument_checks.integer("num_heads", num_heads)
        self.head_dim = argument_checks.integer("head_dim", head_dim)
        self.window_size = argument_checks.integer("window_size", window_size)
        self.dropout = argument_checks.rate("dropout", dropout)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.query_dense = self._projection("query", input_shape)
        self.key_dense = self._projection("key", input_shape)
        self.value_dense = self._projection("value", input_shape)
        self.position_bias = WindowPositionBias(
            self.window_size,
            self.num_heads,
            initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="position_bias",
        )
        self.softmax = keras.layers.Softmax(
            dtype=self.dtype_policy, name="attention_softmax"
        )
        self.attention_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="attention_dropout"
        )
        self.attention_dropout.build()
        self.output_dense = MaskedEinsumDense(
            "bwnhk,hkf->bwnf",
            output_shape=(None, None, input_shape[-1]),
            bias_axes="f",
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="attention_output",
        )
        self.output_dense.build(
            (*input_shape[:-1], self.num_heads, self.head_dim)
        )

    def _projection(self, name, input_shape):
        layer = MaskedEinsumDense(
            "bwnf,fhk->bwnhk",
            output_shape=(None, None, self.num_heads, self.head_dim),
            bias_axes="hk",
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build(input_shape)
        return layer

    @float64_exact
    def call(self, inputs, attention_mask=None, training=None, gates=None):
        gates = gates or {}
        query = self.query_dense(inputs, gate=gates.get("qk"))
        key = self.key_dense(inputs)
        value = self.value_dense(inputs, gate=_gate_of_values(gates))
        # A Python float would be rounded to float32 by TensorFlow.
        scale = ops.cast(np.float64(self.head_dim) ** -0.5, query.dtype)
        scores = ops.einsum("bwnhk,bwmhk->bwhnm", query * scale, key)
        scores = scores + self.position_bias()
        if attention_mask is not None:
            attention_mask = ops.convert_to_tensor(attention_mask, "bool")
            attention_mask = ops.expand_dims(attention_mask, 1)
        weights = self.softmax(scores, mask=attention_mask)
        weights = self.attention_dropout(weights, training=training)
        x = ops.einsum("bwhnm,bwmhk->bwnhk", weights, value)
        return self.output_dense(x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "window_size": self.window_size,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }


def _gate_of_values(gates):
    value, heads = gates.get("value"), gates.get("heads")
    if heads is None:
        return value
    heads = ops.expand_dims(heads, -1)
    return heads if value is None else heads * value
