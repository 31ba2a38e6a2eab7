"""The transformer block of GPT-2 and BERT."""

import keras
from keras import ops

from kgrow.layers import argument_checks
from kgrow.layers.attention.head_extensible_attention import (
    HeadExtensibleAttention,
)
from kgrow.layers.dropout import Dropout
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.dense import MaskedDense
from kgrow.layers.masked.layer_normalization import MaskedLayerNormalization
from kgrow.layers.masked.rms_normalization import MaskedRMSNormalization

_NORMS = {
    "layer": MaskedLayerNormalization,
    "rms": MaskedRMSNormalization,
}


@keras.saving.register_keras_serializable("kgrow")
class TransformerBlock(keras.layers.Layer):
    """Self-attention and a feedforward network, each on a residual branch.

    With `norm_first=True` a branch normalises its input, as in GPT-2; with
    `norm_first=False` the sum of branch and residual is normalised, as in
    BERT. The names of its layers are those of KerasHub's transformer layers,
    whichever norm they hold.

    Example:

    >>> block = TransformerBlock(
    ...     num_heads=2, head_dim=4, intermediate_dim=16, causal=True
    ... )
    >>> block(keras.ops.zeros((1, 3, 8))).shape == (1, 3, 8)
    True

    Args:
        num_heads: int, the number of attention heads.
        head_dim: int, the size of one head, of queries, keys and values. It
            need not be the width of the inputs divided by `num_heads`.
        intermediate_dim: int, the width of the feedforward network.
        dropout: float in `[0, 1)`, the rate after each branch and on the
            attention scores.
        activation: activation of the feedforward network.
        layer_norm_epsilon: float, added to the variance, or to the mean
            square.
        norm_first: bool, whether a branch normalises its input.
        causal: bool, whether a position attends to itself and those before it
            only.
        kernel_initializer: initializer of all kernels.
        norm: `"layer"`, LayerNormalization with a gain `gamma` and a shift
            `beta`; or `"rms"`, RMSNormalization with a gain `scale` alone.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, length, features)`, and optionally
        `padding_mask` with shape `(batch, length)`, true (or 1) where a token
        may be attended to, and `gates`, a dict as `Gates` makes it, of which
        `"hidden"`, `"ffn"`, `"heads"`, `"value"` and `"qk"` are used. With
        `context`, of shape `(batch, context length, features)`, that is what
        is attended to, and `padding_mask` is its mask.

    Output shape:
        Tensor with shape `(batch, length, features)`.

    Raises:
        ValueError: a size is not a positive integer, `dropout` is not in
            `[0, 1)`, or `norm` is neither of the two.

    Reference:

    - [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)
    - [Xiong et al., 2020](https://arxiv.org/abs/2002.04745) on the place of
      the normalisation
    - [Zhang and Sennrich, 2019](https://arxiv.org/abs/1910.07467) on
      RMSNorm
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        intermediate_dim,
        dropout=0.0,
        activation="relu",
        layer_norm_epsilon=1e-5,
        norm_first=False,
        causal=False,
        kernel_initializer="glorot_uniform",
        norm="layer",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = argument_checks.integer("num_heads", num_heads)
        self.head_dim = argument_checks.integer("head_dim", head_dim)
        self.intermediate_dim = argument_checks.integer(
            "intermediate_dim", intermediate_dim
        )
        self.dropout = argument_checks.rate("dropout", dropout)
        self.activation = keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.norm_first = norm_first
        self.causal = causal
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.norm = argument_checks.one_of("norm", norm, tuple(_NORMS))
        self.supports_masking = True

    def build(self, input_shape):
        features = input_shape[-1]
        self.self_attention = HeadExtensibleAttention(
            num_heads=self.num_heads,
            key_dim=self.head_dim,
            value_dim=self.head_dim,
            dropout=self.dropout,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="self_attention",
        )
        self.self_attention.build(input_shape, input_shape)
        self.self_attention_layer_norm = self._norm("self_attention_layer_norm")
        self.self_attention_layer_norm.build(input_shape)
        self.self_attention_dropout = self._dropout("self_attention_dropout")
        self.self_attention_dropout.build(input_shape)
        self.feedforward_intermediate_dense = self._dense(
            self.intermediate_dim,
            "feedforward_intermediate_dense",
            self.activation,
        )
        self.feedforward_intermediate_dense.build(input_shape)
        self.feedforward_output_dense = self._dense(
            features, "feedforward_output_dense"
        )
        self.feedforward_output_dense.build(
            (*input_shape[:-1], self.intermediate_dim)
        )
        self.feedforward_layer_norm = self._norm("feedforward_layer_norm")
        self.feedforward_layer_norm.build(input_shape)
        self.feedforward_dropout = self._dropout("feedforward_dropout")
        self.feedforward_dropout.build(input_shape)

    def _norm(self, name):
        return _NORMS[self.norm](
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def _dropout(self, name):
        return Dropout(self.dropout, dtype=self.dtype_policy, name=name)

    def _dense(self, units, name, activation=None):
        return MaskedDense(
            units,
            activation=activation,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    @float64_exact
    def call(
        self,
        inputs,
        padding_mask=None,
        training=None,
        gates=None,
        context=None,
    ):
        gates = gates or {}
        stream = gates.get("hidden")
        x = residual = inputs
        if self.norm_first:
            x = self.self_attention_layer_norm(x, gate=stream)
            if context is not None:
                context = self.self_attention_layer_norm(context, gate=stream)
        context = x if context is None else context
        x = self._attend(x, context, padding_mask, training, gates)
        x = residual + self.self_attention_dropout(x, training=training)
        if not self.norm_first:
            x = self.self_attention_layer_norm(x, gate=stream)

        residual = x
        if self.norm_first:
            x = self.feedforward_layer_norm(x, gate=stream)
        x = self.feedforward_intermediate_dense(x, gate=gates.get("ffn"))
        x = self.feedforward_output_dense(x)
        x = residual + self.feedforward_dropout(x, training=training)
        if not self.norm_first:
            x = self.feedforward_layer_norm(x, gate=stream)
        return x

    def _attend(self, x, context, padding_mask, training, gates):
        if padding_mask is not None:
            padding_mask = ops.expand_dims(padding_mask, axis=1)
        # JAX's fused attention takes its softmax in float32. Asking for the
        # scores selects Keras' own, in the dtype of the layer.
        unfused = self.compute_dtype == "float64"
        inner = {d: gates.get(d) for d in ("heads", "value", "qk")}
        gated = any(gate is not None for gate in inner.values())
        outputs = self.self_attention(
            query=x,
            value=context,
            attention_mask=padding_mask,
            use_causal_mask=self.causal,
            return_attention_scores=unfused,
            training=training,
            gates=inner if gated else None,
        )
        return outputs[0] if unfused else outputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "activation": keras.activations.serialize(self.activation),
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "norm_first": self.norm_first,
            "causal": self.causal,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "norm": self.norm,
        }
