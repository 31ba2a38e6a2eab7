"""The transformer block of CaiT."""

import keras

from kgrow.layers import argument_checks
from kgrow.layers.attention.head_extensible_attention import (
    HeadExtensibleAttention,
)
from kgrow.layers.attention.talking_heads_attention import (
    TalkingHeadsAttention,
)
from kgrow.layers.blocks.layer_scale import LayerScale
from kgrow.layers.blocks.transformer_block import TransformerBlock
from kgrow.layers.float64 import float64_exact

# Options that these blocks set themselves.
_SETTLED = ("norm_first", "causal", "norm")


@keras.saving.register_keras_serializable("kgrow")
class LayerScaleBlock(TransformerBlock):
    """A pre-norm transformer block whose branches end in a `LayerScale`.

    `x + s1 * attention(norm(x))`, then `x + s2 * feedforward(norm(x))`. The
    names of its layers are those of `TransformerBlock`, with
    `self_attention_layer_scale` and `feedforward_layer_scale` besides.

    Example:

    >>> block = LayerScaleBlock(num_heads=2, head_dim=4, intermediate_dim=16)
    >>> block(keras.ops.zeros((1, 3, 8))).shape == (1, 3, 8)
    True

    Args:
        num_heads: int, the number of attention heads.
        head_dim: int, the size of one head.
        intermediate_dim: int, the width of the feedforward network.
        dropout: float in `[0, 1)`, the rate after each branch and on the
            attention weights.
        activation: activation of the feedforward network.
        layer_norm_epsilon: float, added to the variance.
        layer_scale_init_value: float, what the factors start as.
        talking_heads: bool, whether heads are mixed around the softmax, see
            `TalkingHeadsAttention`.
        kernel_initializer: initializer of all kernels.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, length, features)`, and what
        `TransformerBlock` takes: `padding_mask`, `gates`, `context`.

    Output shape:
        Tensor with shape `(batch, length, features)`.

    Raises:
        GrowthError: a size is not a positive integer, or `dropout` is not in
            `[0, 1)`.

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2103.17239), Eq. 4
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        intermediate_dim,
        dropout=0.0,
        activation="gelu",
        layer_norm_epsilon=1e-6,
        layer_scale_init_value=1e-5,
        talking_heads=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(
            num_heads=num_heads,
            head_dim=head_dim,
            intermediate_dim=intermediate_dim,
            dropout=dropout,
            activation=activation,
            layer_norm_epsilon=layer_norm_epsilon,
            norm_first=True,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        self.layer_scale_init_value = float(layer_scale_init_value)
        self.talking_heads = bool(talking_heads)

    def build(self, input_shape):
        features = input_shape[-1]
        attention = (
            TalkingHeadsAttention
            if self.talking_heads
            else HeadExtensibleAttention
        )
        self.self_attention_layer_norm = self._norm("self_attention_layer_norm")
        self.self_attention_layer_norm.build(input_shape)
        self.self_attention = attention(
            num_heads=self.num_heads,
            key_dim=self.head_dim,
            value_dim=self.head_dim,
            dropout=self.dropout,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="self_attention",
        )
        self.self_attention.build(input_shape, input_shape)
        self.self_attention_layer_scale = self._scale(
            "self_attention_layer_scale"
        )
        self.self_attention_layer_scale.build(input_shape)
        self.self_attention_dropout = self._dropout("self_attention_dropout")
        self.self_attention_dropout.build(input_shape)
        self.feedforward_layer_norm = self._norm("feedforward_layer_norm")
        self.feedforward_layer_norm.build(input_shape)
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
        self.feedforward_layer_scale = self._scale("feedforward_layer_scale")
        self.feedforward_layer_scale.build(input_shape)
        self.feedforward_dropout = self._dropout("feedforward_dropout")
        self.feedforward_dropout.build(input_shape)

    def _scale(self, name):
        return LayerScale(
            self.layer_scale_init_value, dtype=self.dtype_policy, name=name
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
        x = self.self_attention_layer_norm(inputs, gate=stream)
        if context is None:
            context = x
        else:
            context = self.self_attention_layer_norm(context, gate=stream)
        x = self._attend(x, context, padding_mask, training, gates)
        x = self.self_attention_layer_scale(x)
        x = inputs + self.self_attention_dropout(x, training=training)

        residual = x
        x = self.feedforward_layer_norm(x, gate=stream)
        x = self.feedforward_intermediate_dense(x, gate=gates.get("ffn"))
        x = self.feedforward_output_dense(x)
        x = self.feedforward_layer_scale(x)
        return residual + self.feedforward_dropout(x, training=training)

    def get_config(self):
        config = super().get_config()
        for name in _SETTLED:
            config.pop(name)
        return {
            **config,
            "layer_scale_init_value": self.layer_scale_init_value,
            "talking_heads": self.talking_heads,
        }
