"""What the transformers have in common, from their fields to their gates."""

import keras

from kgrow.layers import (
    Dropout,
    Gates,
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


class TransformerNetwork(keras.Model):
    """Base class of the transformers: it checks fields, makes the parts that
    most of them have, and runs the blocks.

    A subclass names its `fields`, sets them with `_set_fields()`, makes its
    layers in the order of its variables and ends its constructor with
    `_finish()`.

    Args:
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Example:

    >>> from kgrow.models.gpt2_network import GPT2Network
    >>> issubclass(GPT2Network, TransformerNetwork)
    True
    """

    # The constructor's arguments in the order of the config; each is an
    # attribute of the same name.
    fields = ()
    # Options that change how it trains and not what its weights are.
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

    def get_config(self):
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in self.fields},
            "gates": self.gates.get_config()["active_gates"],
        }

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

    def _gate_sizes(self):
        """The sizes of what can stand behind gates, besides the blocks."""
        return {
            "hidden": self.hidden_dim,
            "ffn": self.intermediate_dim,
            "heads": self.num_heads,
            "qk": self.head_dim,
            "value": self.head_dim,
        }

    def _finish(self, gates, layer_drop=0.0, token_drop=0.0):
        """Makes the gates and what the blocks leave out, and all variables."""
        sizes = {**self._gate_sizes(), "layers": self.num_layers}
        self.gates = Gates(sizes, gates, name="gates")
        self.drop_settings = DropSettings(layer_drop, token_drop)
        self.savings_seed = self.drop_settings.seed
        check_drop_settings(self.drop_settings, self.num_layers)
        self.sub_model = None
        self.build()

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
