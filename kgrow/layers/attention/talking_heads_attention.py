"""Attention whose heads are mixed before and after the softmax."""

import keras
from keras import ops

from kgrow.layers import argument_checks
from kgrow.layers.attention.head_extensible_attention import (
    HeadExtensibleAttention,
)
from kgrow.layers.attention.head_projection import HeadProjection


@keras.saving.register_keras_serializable("kgrow")
class TalkingHeadsAttention(HeadExtensibleAttention):
    """Attention with a linear map over the heads on either side of the softmax.

    With `s_n` the scores of head `n`, head `m` attends with `softmax(sum_n
    s_n L_nm + l_m)`, and of what the heads attend with, `a_n`, head `m` uses
    `sum_n a_n W_nm + w_m`. Besides the variables of
    `keras.layers.MultiHeadAttention` it has the kernels and biases of the two
    maps, `score_projection` and `weight_projection`.

    Copies of heads keep the function: scores, softmax and products with values
    are taken in each head alone, so that copies go through them as copies, and
    the two maps read and make heads as any layer does.

    Args:
        num_heads: int, the number of heads.
        key_dim: int, the size of one head.
        **kwargs: of `keras.layers.MultiHeadAttention`.

    Call arguments:
        query: tensor of shape `(batch, T, features)`.
        value: tensor of shape `(batch, S, features)`.
        key: optional tensor like `value`; `value` by default.
        attention_mask, return_attention_scores, training, use_causal_mask: as
            in the stock layer.
        gates: optional dict of tensors with values in `[0, 1]`, see
            `HeadExtensibleAttention`. The one on heads also multiplies what
            the two maps read, so that a head behind a shut gate adds nothing
            to any other.

    Returns:
        The outputs, of shape `(batch, T, features)`; a tuple with what the
        heads use, of shape `(batch, num_heads, T, S)`, if scores are asked
        for.

    Example:

    >>> layer = TalkingHeadsAttention(num_heads=2, key_dim=4)
    >>> x = keras.ops.zeros((1, 3, 8))
    >>> layer(x, x).shape == (1, 3, 8)
    True

    Reference:

    - [Shazeer et al., 2020](https://arxiv.org/abs/2003.02436)
    - [Touvron et al., 2021](https://arxiv.org/abs/2103.17239), whose code
      gives both maps biases, as here.
    """

    def _build_attention(self, rank):
        super()._build_attention(rank)
        self._score_projection = self._head_projection("score_projection")
        self._weight_projection = self._head_projection("weight_projection")

    def _head_projection(self, name):
        layer = HeadProjection(
            kernel_initializer=argument_checks.fresh(self._kernel_initializer),
            bias_initializer=argument_checks.fresh(self._bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, self._num_heads, None, None))
        return layer

    def call(
        self,
        query,
        value,
        key=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
        use_causal_mask=False,
        gates=None,
    ):
        key = value if key is None else key
        mask = self._compute_attention_mask(
            query,
            value,
            attention_mask=attention_mask,
            use_causal_mask=use_causal_mask,
        )
        gates = gates or {}
        heads = gates.get("heads")
        query = _times(self._query_dense(query), gates.get("qk"))
        key = self._key_dense(key)
        value = _times(self._value_dense(value), gates.get("value"))
        if heads is not None:
            value = _times(value, ops.expand_dims(heads, -1))

        query = query * self._inverse_sqrt_key_dim
        scores = ops.einsum(self._dot_product_equation, key, query)
        scores = self._score_projection(scores, gate=heads)
        weights = self._masked_softmax(scores, mask)
        weights = self._weight_projection(weights, gate=heads)
        dropped = self._dropout_layer(weights, training=training)
        outputs = ops.einsum(self._combine_equation, dropped, value)
        outputs = self._output_dense(outputs)
        return (outputs, weights) if return_attention_scores else outputs


def _times(x, gate):
    return x if gate is None else x * ops.cast(gate, x.dtype)
