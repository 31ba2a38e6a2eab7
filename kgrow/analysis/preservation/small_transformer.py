"""A transformer small enough to be grown by every strategy in turn."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.layers import (
    Gates,
    MaskedDense,
    MaskedLayerNormalization,
    MaskedRMSNormalization,
    TransformerBlock,
)
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_approximate
from kgrow.models.transformer import BLOCK_RULES, block_dims

# `{placement: (norm, norm_first)}`.
PLACEMENTS = {
    "pre-LN": ("layer", True),
    "post-LN": ("layer", False),
    "RMSNorm": ("rms", True),
}

FEATURES = 5


@keras.saving.register_keras_serializable("kgrow")
class SmallTransformer(keras.Model):
    """Vectors in, vectors out, and nothing but blocks between them.

    A projection into the stream, blocks, the last norm of a pre-norm network
    and a projection out of it. No nonlinearity follows the stream, so that
    it is linear under every placement of the norms, post-norm included; the
    readout has weights of its own, so that nothing lives in the dual space.
    What tied weights need is tested on GPT-2 and BERT.

    Args:
        hidden_dim: int, width of the stream.
        intermediate_dim: int, width of the feedforward networks.
        num_heads: int.
        num_layers: int.
        head_dim: int.
        norm: `"layer"` or `"rms"`.
        norm_first: bool, whether branches normalise what they read, or the
            stream is normalised after every addition.
        layer_norm_epsilon: float.
        gates: list of `Gate`s or of their configs.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Float tensor with shape `(batch, length, 5)`.

    Output shape:
        The same.

    Example:

    >>> network = SmallTransformer(hidden_dim=8, intermediate_dim=16,
    ...     num_heads=2, num_layers=1)
    >>> network(keras.KerasTensor((2, 3, 5))).shape
    (2, 3, 5)
    """

    def __init__(
        self,
        hidden_dim,
        intermediate_dim,
        num_heads,
        num_layers,
        head_dim=4,
        norm="layer",
        norm_first=True,
        layer_norm_epsilon=1e-6,
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.head_dim = head_dim
        self.norm = norm
        self.norm_first = norm_first
        self.layer_norm_epsilon = layer_norm_epsilon
        self.blocks = [
            TransformerBlock(
                num_heads=num_heads,
                head_dim=head_dim,
                intermediate_dim=intermediate_dim,
                activation=gelu_approximate,
                layer_norm_epsilon=layer_norm_epsilon,
                norm_first=norm_first,
                norm=norm,
                dtype=self.dtype_policy,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]
        options = {"dtype": self.dtype_policy}
        self.inner = MaskedDense(hidden_dim, name="inner", **options)
        self.outer = keras.layers.Dense(FEATURES, name="outer", **options)
        norms = {
            "layer": MaskedLayerNormalization,
            "rms": MaskedRMSNormalization,
        }
        options["epsilon"] = layer_norm_epsilon
        self.last_norm = (
            norms[norm](name="last_norm", **options) if norm_first else None
        )
        self.gates = Gates(
            {
                "hidden": hidden_dim,
                "ffn": intermediate_dim,
                "heads": num_heads,
                "qk": head_dim,
                "value": head_dim,
                "layers": num_layers,
            },
            gates,
            name="gates",
        )
        self.build()

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self.inner.build((None, None, FEATURES))
        for block in self.blocks:
            block.build(stream)
        if self.last_norm is not None:
            self.last_norm.build(stream)
        self.outer.build(stream)

    @float64_exact
    def call(self, inputs, training=None):
        gates = self.gates(training=training)
        stream = gates["hidden"]
        x = self.inner(inputs, gate=stream)
        x = run_blocks(
            self.blocks,
            x,
            training=training,
            gate=gates["layers"],
            gates=gates,
        )
        if self.last_norm is not None:
            x = self.last_norm(x, gate=stream)
        return self.outer(x)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "num_heads": self.num_heads,
            "num_layers": self.num_layers,
            "head_dim": self.head_dim,
            "norm": self.norm,
            "norm_first": self.norm_first,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "gates": self.gates.get_config()["active_gates"],
        }


def axes(placement):
    """The `AxisMap` of a `SmallTransformer`.

    Args:
        placement: one of `PLACEMENTS`.

    Example:

    >>> axes("post-LN").stacks["layers"].norm
    'post'
    """
    norm, norm_first = PLACEMENTS[placement]
    return AxisMap(
        {
            "inner/kernel": "_ -> hidden",
            "inner/bias": "-> hidden",
            **BLOCK_RULES,
            "last_norm/(gamma|scale)": "-> hidden | scale",
            "last_norm/beta": "-> hidden | offset",
            "outer/kernel": "hidden -> _",
            "outer/bias": "-> _",
        },
        dims=block_dims("stream", norm),
        stacks=[
            BlockStack(
                "layers", "num_layers", norm="pre" if norm_first else "post"
            )
        ],
    )
