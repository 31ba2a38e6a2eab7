"""Attention whose heads, and their sizes, can grow."""

import keras
import numpy as np
from keras import ops

from kgrow import backend
from kgrow.layers.dropout import Dropout


@keras.saving.register_keras_serializable("kgrow")
class HeadExtensibleAttention(keras.layers.MultiHeadAttention):
    """The stock attention layer, with optional gates on its heads.

    For inputs `(batch, length, features)`; self-attention and
    cross-attention, causal or not. The number of heads is free of the width
    of the inputs. Without gates and cache it computes what
    `keras.layers.MultiHeadAttention` computes, and it has the same variables.
    What differs:

    - gates on heads and head sizes, and a cache of keys and values;
    - the dropout on the attention scores has a name, and its seed state a
      path, that do not depend on what was built before;
    - a causal mask is compared from two ranges instead of summed up over a
      `(length, length)` matrix, which compilers take long to fold away;
    - on TPUs it never uses flash attention, which Keras computes wrongly there.

    Args:
        num_heads: int, the number of heads.
        key_dim: int, the size of one head.
        **kwargs: of `keras.layers.MultiHeadAttention`.

    Call arguments:
        query: tensor of shape `(batch, T, features)`.
        value: tensor of shape `(batch, S, features)`.
        key: optional tensor like `value`; `value` by default.
        query_mask, value_mask, key_mask, attention_mask,
            return_attention_scores, training, use_causal_mask: as in the stock
            layer.
        gates: optional dict of tensors with values in `[0, 1]`: `"heads"` of
            shape `(num_heads,)`, `"value"` of shape `(value_dim,)`, `"qk"` of
            shape `(key_dim,)`. The first two multiply the values, whence a
            head behind a shut gate adds nothing; the last one the queries, so
            that it adds nothing to any score. Queries and keys of new heads
            are left alone: a gate there would change how sharply they attend
            while it opens.
        cache: optional list of two tensors, keys of shape `(batch, C,
            num_heads, key_dim)` and values of shape `(batch, C, num_heads,
            value_dim)`, zeros at first.
        cache_index: optional int or scalar tensor, where in the cache the
            keys and values of this call are written; `None` reads them from
            the cache only, as cross-attention does from its second call on.

    Raises:
        GrowthError: flash attention was asked for, on a TPU.

    Returns:
        The outputs, of shape `(batch, T, features)`; a tuple with the scores
        if they are asked for; a tuple with the updated cache as last element
        if one was given.

    Example:

    >>> layer = HeadExtensibleAttention(num_heads=2, key_dim=4)
    >>> x = keras.ops.zeros((1, 3, 8))
    >>> gates = {"heads": keras.ops.convert_to_tensor([1.0, 0.0])}
    >>> layer(x, x, gates=gates).shape == (1, 3, 8)
    True

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), App. A; the public
      code masks queries and keys of new heads too.
    """

    # Keras reads it at every call, and asks for the platform only then.
    @property
    def _flash_attention(self):
        return backend.flash_attention(self._flash_requested)

    @_flash_attention.setter
    def _flash_attention(self, requested):
        self._flash_requested = requested

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

    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
        use_causal_mask=False,
        gates=None,
        cache=None,
        cache_index=None,
    ):
        if gates is None and cache is None:
            return super().call(
                query,
                value,
                key=key,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                return_attention_scores=return_attention_scores,
                training=training,
                use_causal_mask=use_causal_mask,
            )
        key = value if key is None else key
        masks = query_mask, value_mask, key_mask, attention_mask
        causal_only = (
            use_causal_mask
            and cache is None
            and all(mask is None for mask in masks)
        )
        if cache is None and not causal_only:
            attention_mask = self._compute_attention_mask(
                query,
                value,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                use_causal_mask=use_causal_mask,
            )
        value_gate, query_gate = _gates_of_projections(gates or {})
        query = _gated(self._query_dense(query), query_gate)
        if cache is None or cache_index is not None:
            key = self._key_dense(key)
            value = _gated(self._value_dense(value), value_gate)
        if cache is not None:
            key, value = cache = _cached(cache, key, value, cache_index)
            if use_causal_mask:
                causal = _visible(query, key, cache_index)
                attention_mask = (
                    causal
                    if attention_mask is None
                    else causal & ops.cast(attention_mask, "bool")
                )
        outputs, scores = self._compute_attention(
            query,
            key,
            value,
            attention_mask,
            training,
            return_attention_scores,
            **({"use_causal_mask": True} if causal_only else {}),
        )
        result = [self._output_dense(outputs)]
        if return_attention_scores:
            result.append(scores)
        if cache is not None:
            result.append(cache)
        return result[0] if len(result) == 1 else tuple(result)

    def compute_output_spec(self, query, value, key=None, **kwargs):
        cache = kwargs.pop("cache", None)
        kwargs.pop("gates", None)
        kwargs.pop("cache_index", None)
        spec = super().compute_output_spec(query, value, key, **kwargs)
        if cache is None:
            return spec
        parts = spec if isinstance(spec, tuple) else (spec,)
        return (*parts, list(cache))

    def _compute_causal_mask(self, query, value=None):
        value = query if value is None else value
        rows = ops.arange(ops.shape(query)[1])
        columns = ops.arange(ops.shape(value)[1])
        return (rows[:, None] >= columns)[None]


def _gated(x, gate):
    return x if gate is None else x * ops.cast(gate, x.dtype)


def _gates_of_projections(gates):
    """The gates of values and of queries, as they broadcast."""
    value = gates.get("value")
    heads = gates.get("heads")
    if heads is not None:
        heads = ops.expand_dims(heads, -1)
        value = heads if value is None else heads * value
    return value, gates.get("qk")


def _cached(cache, key, value, index):
    """Writes new keys or values into the cache."""
    if index is None:
        return list(cache)
    return [
        ops.slice_update(old, (0, index, 0, 0), ops.cast(new, old.dtype))
        for old, new in zip(cache, (key, value), strict=True)
    ]


def _visible(query, key, index):
    """Which places of the cache each query may attend to, `(1, T, C)`."""
    if index is None:
        raise ValueError(
            "Causal attention over a cache needs `cache_index`, the position "
            "of the first query. Received: cache_index=None"
        )
    rows = ops.arange(ops.shape(query)[1]) + index
    columns = ops.arange(ops.shape(key)[1])
    return (rows[:, None] >= columns)[None]
