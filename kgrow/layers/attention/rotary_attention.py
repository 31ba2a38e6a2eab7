"""Causal attention with rotary positions, keys shared by groups of queries."""

import keras
from keras import ops

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks
from kgrow.layers.attention.rotary_embedding import RotaryEmbedding
from kgrow.layers.dropout import Dropout
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.einsum_dense import MaskedEinsumDense


@keras.saving.register_keras_serializable("kgrow")
class RotaryAttention(keras.layers.Layer):
    """Grouped-query causal self-attention with rotary position embeddings.

    Query heads come in groups of `num_query_heads / num_key_value_heads`, one
    group after the other, each with a head of keys and of values that its
    members share. Positions enter by turning queries and keys, see
    `RotaryEmbedding`. There are no biases.

    Args:
        num_query_heads: int, the number of query heads.
        num_key_value_heads: int, the number of key and value heads; as many
            as query heads make it the usual attention.
        head_dim: int, the size of one head, even.
        dropout: float in `[0, 1)`, the rate on the attention scores.
        max_wavelength: number, of the `RotaryEmbedding`.
        kernel_initializer: initializer of all kernels.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(batch, length, features)`.
        training: bool or `None`, whether dropout is active.
        gates: optional dict of tensors with values in `[0, 1]`: `"kv"` of
            shape `(num_key_value_heads,)` and `"value"` of shape
            `(head_dim,)`, which multiply the values; `"group"`, of as many
            entries as a group has queries, which multiplies what each attends
            to.

    Output shape:
        Tensor with shape `(batch, length, features)`.

    Raises:
        GrowthError: a size is not a positive integer, `head_dim` is odd, or
            `num_key_value_heads` does not divide `num_query_heads`.

    Example:

    >>> layer = RotaryAttention(
    ...     num_query_heads=4, num_key_value_heads=2, head_dim=4
    ... )
    >>> layer(keras.ops.zeros((1, 3, 8))).shape == (1, 3, 8)
    True

    Reference:

    - Ainslie et al., "GQA" (2305.13245), Sec. 2.2; Su et al., "RoFormer"
      (2104.09864), Eq. 16. The names of the variables are those of KerasHub's
      `LlamaAttention`.
    """

    def __init__(
        self,
        num_query_heads,
        num_key_value_heads,
        head_dim,
        dropout=0.0,
        max_wavelength=10000,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        integer = argument_checks.integer
        self.num_query_heads = integer("num_query_heads", num_query_heads)
        self.num_key_value_heads = integer(
            "num_key_value_heads", num_key_value_heads
        )
        self.head_dim = integer("head_dim", head_dim)
        self.dropout = argument_checks.rate("dropout", dropout)
        self.max_wavelength = max_wavelength
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if self.num_query_heads % self.num_key_value_heads:
            raise GrowthError(
                "Every head of keys and values serves the same number of "
                "query heads. Choose `num_query_heads` as a multiple of "
                "`num_key_value_heads`. Received: "
                f"num_query_heads={num_query_heads}, "
                f"num_key_value_heads={num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise GrowthError(
                "`head_dim` must be even, for the entries of a head are "
                "turned in pairs. Choose another. Received: "
                f"head_dim={head_dim}"
            )

    @property
    def group_size(self):
        """How many query heads share a head of keys and values."""
        return self.num_query_heads // self.num_key_value_heads

    def build(self, input_shape):
        self.query = self._projection(
            "query", "btm,muh->btuh", self.num_query_heads, input_shape
        )
        self.key = self._projection(
            "key", "bsm,mvh->bsvh", self.num_key_value_heads, input_shape
        )
        self.value = self._projection(
            "value", "bsm,mvh->bsvh", self.num_key_value_heads, input_shape
        )
        heads = (None, None, self.num_query_heads, self.head_dim)
        self.rotary_embedding = RotaryEmbedding(
            self.max_wavelength,
            dtype=self.dtype_policy,
            name="rotary_embedding",
        )
        self.rotary_embedding.build(heads)
        self.attention_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="attention_dropout"
        )
        self.attention_dropout.build()
        self.attention_output = MaskedEinsumDense(
            "btuh,uhm->btm",
            output_shape=(None, input_shape[-1]),
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="attention_output",
        )
        self.attention_output.build(heads)

    def _projection(self, name, equation, heads, input_shape):
        projection = MaskedEinsumDense(
            equation,
            output_shape=(None, heads, self.head_dim),
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=name,
        )
        projection.build(input_shape)
        return projection

    @float64_exact
    def call(self, inputs, training=None, gates=None):
        gates = gates or {}
        query = self.rotary_embedding(self.query(inputs))
        key = self.rotary_embedding(self.key(inputs))
        value = self.value(inputs, gate=_value_gate(gates))
        key = ops.repeat(key, self.group_size, axis=2)
        value = ops.repeat(value, self.group_size, axis=2)
        # JAX's fused attention takes its softmax in float32.
        if self.dropout > 0 or self.compute_dtype == "float64":
            x = self._attend(query, key, value, training)
        else:
            x = ops.dot_product_attention(
                query,
                key,
                value,
                is_causal=True,
                flash_attention=backend.flash_attention(None),
            )
        gate = gates.get("group")
        if gate is not None:
            gate = ops.tile(gate, [self.num_key_value_heads])
            x = x * ops.cast(ops.expand_dims(gate, -1), x.dtype)
        return self.attention_output(x)

    def _attend(self, query, key, value, training):
        scores = ops.einsum("btuh,bsuh->buts", query, key)
        scores = scores * self.head_dim**-0.5
        if self.compute_dtype != "float64":
            scores = ops.cast(scores, "float32")
        places = ops.arange(ops.shape(query)[1])
        seen = places[:, None] >= places
        least = ops.cast(-1e30, scores.dtype)
        weights = ops.softmax(ops.where(seen, scores, least), axis=-1)
        weights = ops.cast(weights, self.compute_dtype)
        weights = self.attention_dropout(weights, training=training)
        return ops.einsum("buts,bsuh->btuh", weights, value)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "dropout": self.dropout,
            "max_wavelength": self.max_wavelength,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }


def _value_gate(gates):
    """The gate of the values, as it broadcasts."""
    heads, value = gates.get("kv"), gates.get("value")
    if heads is None:
        return value
    heads = ops.expand_dims(heads, -1)
    return heads if value is None else heads * value
