"""GPT-2, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.models.family import Family
from kgrow.models.gpt2_network import GPT2Network
from kgrow.models.transformer_axes import BLOCK_RULES, block_dims


@keras.saving.register_keras_serializable("kgrow")
class GPT2(Family):
    """A causal language model that grows: GPT-2, pre-norm, tied embeddings.

    Maps token ids `(batch, length)` to next-token logits `(batch, length,
    vocabulary_size)`. All sizes grow: `hidden_dim`, `intermediate_dim`,
    `num_heads`, `head_dim`, `num_layers`, and the tables `vocabulary_size`
    and `max_sequence_length`.

    Args:
        vocabulary_size: int.
        num_layers: int, number of transformer blocks.
        num_heads: int, attention heads per block.
        hidden_dim: int, width of the residual stream.
        intermediate_dim: int, width of the feedforward networks.
        max_sequence_length: int, number of positions.
        dropout: float in `[0, 1)`.
        head_dim: optional int, size of a head; `hidden_dim // num_heads` at
            construction, then kept: growing `hidden_dim` or `num_heads` does
            not change it.
        layer_norm_epsilon: float.
        layer_drop: float in `[0, 1)`, how often the last block is skipped in
            training; `set_training_options()` changes it, and the next.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past the
            middle blocks in training.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: a size is no positive integer, or heads do not divide
            `hidden_dim` and no `head_dim` is given.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.GPT2(vocabulary_size=256, num_layers=2,
    ...     num_heads=2, hidden_dim=16, intermediate_dim=64,
    ...     max_sequence_length=32)
    >>> model.growth_config["head_dim"]
    8

    Reference:

    - Radford et al., "Language Models are Unsupervised Multitask Learners"
      (2019); the variables are those of KerasHub's `GPT2Backbone`.
    """

    network_class = GPT2Network
    axes = AxisMap(
        {
            "token_embedding/embeddings": "vocab -> hidden",
            "position_embedding/embeddings": "positions -> hidden",
            **BLOCK_RULES,
            # What the tied embedding reads lives in the dual space.
            "layer_norm/gamma": "-> ~hidden | scale",
            "layer_norm/beta": "-> ~hidden | offset",
        },
        dims=block_dims(hidden="stream"),
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ _ -> vocab",
    )

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        max_sequence_length=1024,
        dropout=0.1,
        head_dim=None,
        layer_norm_epsilon=1e-5,
        layer_drop=0.0,
        token_drop=0.0,
        name=None,
        dtype=None,
    ):
        super().__init__(
            name=name,
            dtype=dtype,
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            max_sequence_length=max_sequence_length,
            dropout=dropout,
            head_dim=head_dim,
            layer_norm_epsilon=layer_norm_epsilon,
            layer_drop=layer_drop,
            token_drop=token_drop,
        )
