"""Transformers: the axes of a block, and their base class.

Queries and keys meet in a dot product: what one produces the other consumes,
so the key's head axis is the dual `~qk`. The product is divided by the square
root of the head size, which the query makes good when it grows.
"""

import re

import keras

from kgrow.algebra.spec import Dim
from kgrow.layers import (
    Dropout,
    MaskedEmbedding,
    MaskedLayerNormalization,
    PositionEmbedding,
    TransformerBlock,
    argument_checks,
)
from kgrow.layers.blocks.block_stack import (
    DropSettings,
    check_drop_settings,
    run_blocks,
)
from kgrow.models.network import Network

_BLOCK = {
    "self_attention/query/kernel": "hidden -> heads qk | qk^0.5",
    "self_attention/query/bias": "-> heads qk | qk^0.5",
    "self_attention/key/kernel": "hidden -> heads ~qk",
    "self_attention/key/bias": "-> heads ~qk",
    "self_attention/value/kernel": "hidden -> heads value",
    "self_attention/value/bias": "-> heads value",
    "self_attention/attention_output/kernel": (
        "heads value -> hidden | residual_out"
    ),
    "self_attention/attention_output/bias": "-> hidden | residual_out",
    "feedforward_intermediate_dense/kernel": "hidden -> ffn",
    "feedforward_intermediate_dense/bias": "-> ffn",
    "feedforward_output_dense/kernel": "ffn -> hidden | residual_out",
    "feedforward_output_dense/bias": "-> hidden | residual_out",
    "self_attention_layer_norm/gamma": "-> hidden | scale, attention_norm",
    "self_attention_layer_norm/beta": "-> hidden | offset, attention_norm",
    "feedforward_layer_norm/gamma": "-> hidden | scale, ffn_norm",
    "feedforward_layer_norm/beta": "-> hidden | offset, ffn_norm",
    # RMSNorm in their place.
    "self_attention_layer_norm/scale": "-> hidden | scale, attention_norm",
    "feedforward_layer_norm/scale": "-> hidden | scale, ffn_norm",
}

BLOCK_DIMS = ("hidden", "ffn", "heads", "qk", "value")


def block_rules(block, names=None):
    """The axes of a block's variables, as rules for an `AxisMap`.

    Args:
        block: string, the path of a block, with `{stack}` for its number.
        names: optional dict from `BLOCK_DIMS` to names of their own, where
            another stack has other sizes.

    Example:

    >>> rules = block_rules("stage0_block_{stage0}", {"hidden": "hidden0"})
    >>> rules["stage0_block_{stage0}/feedforward_output_dense/kernel"]
    'ffn -> hidden0 | residual_out'
    """
    names = names or {}
    return {
        f"{block}/{path}": re.sub(
            "[a-z_]+", lambda word: names.get(word[0], word[0]), axes
        )
        for path, axes in _BLOCK.items()
    }


BLOCK_RULES = block_rules("transformer_layer_{layers}")


def stream_dims(hidden, norm="layer"):
    """The dims of a transformer's blocks; `hidden` is the kind of its stream,
    `norm` that of its norms."""
    return [
        Dim("hidden", "hidden_dim", kind=hidden, norm=norm),
        Dim("ffn", "intermediate_dim"),
        Dim("heads", "num_heads"),
        Dim("qk", "head_dim", kind="stream"),
        Dim("value", "head_dim", kind="stream"),
    ]


def block_dims(hidden, norm="layer"):
    """The dims of a language model: those of its blocks, and its tables."""
    return [
        *stream_dims(hidden, norm),
        Dim("vocab", "vocabulary_size", kind="lookup"),
        Dim("positions", "max_sequence_length", kind="lookup"),
    ]


class TransformerNetwork(Network):
    """Base class of the transformers: it checks arguments, makes the layers
    that most of them have, and runs the blocks.

    A subclass sets its arguments with `_set_fields()`, makes its layers in the
    order of its variables and ends its constructor with `finish()`.

    Args:
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Example:

    >>> from kgrow.models.gpt2 import GPT2Network
    >>> issubclass(GPT2Network, TransformerNetwork)
    True
    """

    training_options = ("dropout", "layer_drop", "token_drop")

    @property
    def layer_drop(self):
        return self.drop_settings.layer_drop

    @property
    def token_drop(self):
        return self.drop_settings.token_drop

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(
            (*inputs.shape, self.vocabulary_size), dtype=self.compute_dtype
        )

    def _set_fields(self, dropout, layer_norm_epsilon, **sizes):
        for name, value in sizes.items():
            minimum = 0 if name == "num_layers" else 1
            value = argument_checks.integer(name, value, minimum=minimum)
            setattr(self, name, value)
        self.dropout = argument_checks.rate("dropout", dropout)
        self.layer_norm_epsilon = layer_norm_epsilon

    def _initializer(self):
        """A new initializer of all matrices; one of its own for each."""
        return keras.initializers.RandomNormal(stddev=0.02)

    def _token_embedding(self, **options):
        # Embeddings are not autocast: without `reverse_dtype` the logits of a
        # mixed precision network would be computed in float32.
        return MaskedEmbedding(
            self.vocabulary_size,
            self.hidden_dim,
            embeddings_initializer=self._initializer(),
            reverse_dtype=self.compute_dtype,
            dtype=self.dtype_policy,
            name="token_embedding",
            **options,
        )

    def _position_embedding(self):
        return PositionEmbedding(
            self.max_sequence_length,
            embeddings_initializer=self._initializer(),
            dtype=self.dtype_policy,
            name="position_embedding",
        )

    def _dropout(self, name):
        return Dropout(self.dropout, dtype=self.dtype_policy, name=name)

    def _norm(self, name):
        return MaskedLayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def _blocks(self, **options):
        return [
            TransformerBlock(
                num_heads=self.num_heads,
                head_dim=self.head_dim,
                intermediate_dim=self.intermediate_dim,
                dropout=self.dropout,
                layer_norm_epsilon=self.layer_norm_epsilon,
                kernel_initializer=self._initializer(),
                dtype=self.dtype_policy,
                name=f"transformer_layer_{i}",
                **options,
            )
            for i in range(self.num_layers)
        ]

    def finish(self, gates, layer_drop=0.0, token_drop=0.0):
        """Ends a constructor, see `Network`; sets how often training skips
        blocks and tokens."""
        self.drop_settings = DropSettings(layer_drop, token_drop)
        self.savings_seed = self.drop_settings.seed
        check_drop_settings(self.drop_settings, self.num_layers)
        self.sub_model = None
        super().finish(gates)

    def _run_blocks(self, x, training, gates, **options):
        return run_blocks(
            self.transformer_layers,
            x,
            self.sub_model,
            training,
            gate=gates["layers"],
            drop_settings=self.drop_settings,
            gates=gates,
            **options,
        )
