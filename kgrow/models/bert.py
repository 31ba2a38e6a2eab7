"""BERT, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.models.bert_network import BERTNetwork
from kgrow.models.encoder_axes import ENCODER_RULES
from kgrow.models.family import Family
from kgrow.models.transformer_axes import block_dims


@keras.saving.register_keras_serializable("kgrow")
class BERT(Family):
    """A masked language model that grows: BERT, post-norm, tied embeddings.

    Maps token ids `(batch, length)`, or a dict with `token_ids` and optionally
    `segment_ids` and `padding_mask`, to masked-LM logits `(batch, length,
    vocabulary_size)`. All sizes grow, as in `GPT2`, and `num_segments`.

    Widths keep the function where each unit of `hidden_dim` is copied equally
    often. New blocks that add nothing keep it but for the epsilon of the norms
    that are repeated, 1e-12 by default.

    Args:
        vocabulary_size: int.
        num_layers: int, number of transformer blocks.
        num_heads: int, attention heads per block.
        hidden_dim: int, width of the residual stream.
        intermediate_dim: int, width of the feedforward networks.
        max_sequence_length: int, number of positions.
        dropout: float in `[0, 1)`.
        num_segments: int, number of token types.
        head_dim: optional int, see `GPT2`.
        layer_norm_epsilon: float.
        layer_drop: float in `[0, 1)`, how often the last block is skipped in
            training; `set_training_options()` changes it, and the next.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past the
            middle blocks in training.
        pooling: int, how many neighbouring tokens are averaged into one.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: a size is no positive integer, or heads do not divide
            `hidden_dim` and no `head_dim` is given.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.BERT(vocabulary_size=256, num_layers=2,
    ...     num_heads=2, hidden_dim=16, intermediate_dim=64,
    ...     max_sequence_length=32)
    >>> model.grow({"hidden_dim": 32}, seed=0).exact
    True

    Reference:

    - Devlin et al., "BERT" (1810.04805); the encoder's variables are those of
      KerasHub's `BertBackbone`.
    """

    network_class = BERTNetwork
    axes = AxisMap(
        {
            **ENCODER_RULES,
            "segment_embedding/embeddings": "segments -> hidden",
        },
        # The stream passes a gelu in the masked-LM head: copies only.
        dims=[
            *block_dims(hidden="nonlinear"),
            Dim("segments", "num_segments", kind="lookup"),
        ],
        stacks=[BlockStack("layers", "num_layers", norm="post")],
        outputs="_ _ -> vocab",
    )

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        max_sequence_length=512,
        dropout=0.1,
        num_segments=2,
        head_dim=None,
        layer_norm_epsilon=1e-12,
        layer_drop=0.0,
        token_drop=0.0,
        pooling=1,
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
            num_segments=num_segments,
            head_dim=head_dim,
            layer_norm_epsilon=layer_norm_epsilon,
            layer_drop=layer_drop,
            token_drop=token_drop,
            pooling=pooling,
        )
