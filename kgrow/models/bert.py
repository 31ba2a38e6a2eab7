"""BERT."""

from keras import ops

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.layers import MaskedEmbedding, argument_checks
from kgrow.layers.gelu import gelu_approximate
from kgrow.models.encoder import ENCODER_RULES, EncoderNetwork
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.registry import register
from kgrow.models.transformer import block_dims


class BERTNetwork(EncoderNetwork):
    """The network of `BERT`, which documents its arguments.

    The encoder's variables have the names, shapes and meaning of those in
    KerasHub's `BertBackbone`, except `self_attention`, which is
    `self_attention_layer` there. They exist as soon as the network is
    constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

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

    input_keys = ("segment_ids", *EncoderNetwork.input_keys)

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
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._set_fields(
            dropout,
            layer_norm_epsilon,
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            max_sequence_length=max_sequence_length,
            num_segments=num_segments,
        )
        self.head_dim = argument_checks.head_size(
            self.hidden_dim, self.num_heads, head_dim
        )
        self.token_embedding = self._token_embedding()
        self.position_embedding = self._position_embedding()
        self.segment_embedding = MaskedEmbedding(
            self.num_segments,
            self.hidden_dim,
            embeddings_initializer=self._initializer(),
            dtype=self.dtype_policy,
            name="segment_embedding",
        )
        self._make_encoder(
            gelu_approximate, gates, layer_drop, token_drop, pooling
        )

    def build(self, input_shape=None):
        self.segment_embedding.build((None, None))
        super().build(input_shape)

    def _embed(self, token_ids, segment_ids):
        if segment_ids is None:
            segment_ids = ops.zeros((1, 1), "int32")
        x = super()._embed(token_ids, segment_ids)
        return x + self.segment_embedding(segment_ids)


@register("text")
class BERT(Family):
    """A masked language model that grows: BERT, post-norm, tied embeddings.

    Maps token ids to the logits of masked tokens. All sizes grow, as in `GPT2`,
    and `num_segments`.

    Widths keep the function where each unit of `hidden_dim` is copied equally
    often. New blocks that add nothing keep it but for the epsilon of the norms
    that are repeated, 1e-12 by default.

    Args:
        vocabulary_size: int, the number of tokens.
        num_layers: int, the number of transformer blocks; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        max_sequence_length: int, the number of learned positions.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention scores.
        num_segments: int, the number of segments, also called token types.
        head_dim: int or `None`, the size of one head, by default
            `hidden_dim // num_heads`. Growing `hidden_dim` or `num_heads` does
            not change it.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`; those below are skipped
            less often, in proportion.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past
            the middle blocks in training.
        pooling: int, how many neighbouring tokens are averaged into one
            before they query the first block, see `pool_tokens`; blocks above
            work on the shorter sequence. With more than 1 the inputs need
            `"masked_positions"`.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Integer tensor with shape `(batch, length)`, the token ids; or a dict
        of such tensors with the keys `"token_ids"`, optionally
        `"segment_ids"` (by default all zero), optionally `"padding_mask"`
        (1 for tokens, 0 for padding; by default all one) and optionally
        `"masked_positions"`, with shape `(batch, predictions)`, the positions
        that are predicted (by default all).

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        token at each position, or `(batch, predictions, vocabulary_size)`.
        Which of them to train on is up to the sample weights.

    Raises:
        GrowthError: a size is no positive integer, a rate is not in `[0, 1)`,
            or `num_heads` does not divide `hidden_dim` and no `head_dim` is
            given.

    Example:

    >>> import keras
    >>> model = BERT(vocabulary_size=256, num_layers=2, num_heads=2,
    ...     hidden_dim=16, intermediate_dim=64, max_sequence_length=32)
    >>> model({"token_ids": keras.ops.ones((1, 5), "int32"),
    ...     "padding_mask": keras.ops.ones((1, 5), "int32")}).shape[-1]
    256
    >>> model.grow({"hidden_dim": 32}, seed=0).exact
    True

    Reference:

    - Devlin et al., "BERT" (1810.04805); the encoder's variables are those of
      KerasHub's `BertBackbone`.
    """

    network_class = BERTNetwork
    example = Example(
        sizes={
            "vocabulary_size": 11,
            "num_layers": 2,
            "num_heads": 3,
            "head_dim": 4,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "max_sequence_length": 5,
            "num_segments": 2,
            "dropout": 0.0,
        },
        exact={"hidden_dim": 16, "intermediate_dim": 14},
        gated={"hidden_dim": 19, "num_layers": 3},
    )
