"""The transformer block of Llama."""

import keras
from keras import ops

from kgrow.layers import argument_checks
from kgrow.layers.attention.rotary_attention import RotaryAttention
from kgrow.layers.dropout import Dropout
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.dense import MaskedDense
from kgrow.layers.masked.rms_normalization import MaskedRMSNormalization


@keras.saving.register_keras_serializable("kgrow")
class LlamaBlock(keras.layers.Layer):
    """Rotary attention and a gated feedforward network, each on a residual
    branch that normalises its input by the root of its mean square.

    The feedforward network is `output(silu(gate(x)) * intermediate(x))`. There
    are no biases. The names of the layers are those of KerasHub's
    `LlamaTransformerDecoder`.

    Args:
        num_query_heads: int, the number of query heads.
        num_key_value_heads: int, the number of key and value heads.
        head_dim: int, the size of one head, even.
        intermediate_dim: int, the width of the feedforward network.
        dropout: float in `[0, 1)`, the rate after each branch and on the
            attention scores.
        max_wavelength: number, of the `RotaryEmbedding`.
        layer_norm_epsilon: float, added to the mean square.
        kernel_initializer: initializer of all kernels.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(batch, length, features)`.
        training: bool or `None`, whether dropout is active.
        gates: optional dict as `Gates` makes it, of which `"hidden"`, `"ffn"`,
            `"kv"`, `"group"` and `"value"` are used.

    Output shape:
        Tensor with shape `(batch, length, features)`.

    Raises:
        GrowthError: see `RotaryAttention`.

    Example:

    >>> block = LlamaBlock(num_query_heads=2, num_key_value_heads=1,
    ...     head_dim=4, intermediate_dim=16)
    >>> block(keras.ops.zeros((1, 3, 8))).shape == (1, 3, 8)
    True

    Reference:

    - Touvron et al., "LLaMA" (2302.13971), Sec. 2.2; Shazeer, "GLU Variants
      Improve Transformer" (2002.05202), Eq. 6, FFN_SwiGLU.
    """

    def __init__(
        self,
        num_query_heads,
        num_key_value_heads,
        head_dim,
        intermediate_dim,
        dropout=0.0,
        max_wavelength=10000,
        layer_norm_epsilon=1e-6,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.intermediate_dim = argument_checks.integer(
            "intermediate_dim", intermediate_dim
        )
        self.dropout = argument_checks.rate("dropout", dropout)
        self.max_wavelength = max_wavelength
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.self_attention = RotaryAttention(
            num_query_heads=self.num_query_heads,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            dropout=self.dropout,
            max_wavelength=self.max_wavelength,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="self_attention",
        )
        self.self_attention_layernorm = self._norm("self_attention_layernorm")
        self.self_attention_dropout = self._dropout("self_attention_dropout")
        self.feedforward_intermediate_dense = self._dense(
            self.intermediate_dim, "feedforward_intermediate_dense"
        )
        self.feedforward_gate_dense = self._dense(
            self.intermediate_dim, "feedforward_gate_dense"
        )
        self.feedforward_output_dense = self._dense(
            input_shape[-1], "feedforward_output_dense"
        )
        self.feedforward_layernorm = self._norm("feedforward_layernorm")
        self.feedforward_dropout = self._dropout("feedforward_dropout")
        inner = (*input_shape[:-1], self.intermediate_dim)
        self.self_attention.build(input_shape)
        self.self_attention_layernorm.build(input_shape)
        self.self_attention_dropout.build(input_shape)
        self.feedforward_intermediate_dense.build(input_shape)
        self.feedforward_gate_dense.build(input_shape)
        self.feedforward_output_dense.build(inner)
        self.feedforward_layernorm.build(input_shape)
        self.feedforward_dropout.build(input_shape)

    def _norm(self, name):
        return MaskedRMSNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def _dropout(self, name):
        return Dropout(self.dropout, dtype=self.dtype_policy, name=name)

    def _dense(self, units, name):
        return MaskedDense(
            units,
            use_bias=False,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    @float64_exact
    def call(self, inputs, training=None, gates=None):
        gates = gates or {}
        stream = gates.get("hidden")
        x = self.self_attention_layernorm(inputs, gate=stream)
        x = self.self_attention(x, training=training, gates=gates)
        x = inputs + self.self_attention_dropout(x, training=training)

        residual = x
        x = self.feedforward_layernorm(x, gate=stream)
        gate = self.feedforward_gate_dense(x)
        if self.compute_dtype != "float64":
            gate = ops.cast(gate, "float32")
        gate = ops.cast(ops.silu(gate), self.compute_dtype)
        x = self.feedforward_intermediate_dense(x, gate=gates.get("ffn"))
        x = self.feedforward_output_dense(gate * x)
        return residual + self.feedforward_dropout(x, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "max_wavelength": self.max_wavelength,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }
