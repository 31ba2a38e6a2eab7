"""RoBERTa."""

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.layers import argument_checks
from kgrow.layers.gelu import gelu_exact
from kgrow.models.encoder import ENCODER_RULES, EncoderNetwork
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.registry import register
from kgrow.models.transformer import block_dims


class RoBERTaNetwork(EncoderNetwork):
    """The network of `RoBERTa`, which documents its arguments.

    The encoder's variables have the names, shapes and meaning of those in
    KerasHub's `RobertaBackbone`, except `self_attention`, which is
    `self_attention_layer` there, and the two embeddings, which are inside a
    layer `embeddings` there. As there, the first token has the position 0.
    They exist as soon as the network is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = AxisMap(
        ENCODER_RULES,
        # The stream passes a gelu in the masked-LM head: copies only.
        dims=block_dims(hidden="nonlinear"),
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
        head_dim=None,
        layer_norm_epsilon=1e-5,
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
        )
        self.head_dim = argument_checks.head_size(
            self.hidden_dim, self.num_heads, head_dim
        )
        self.token_embedding = self._token_embedding()
        self.position_embedding = self._position_embedding()
        self._make_encoder(gelu_exact, gates, layer_drop, token_drop, pooling)


@register("text")
class RoBERTa(Family):
    """A masked language model that grows: RoBERTa, BERT without segments.

    Maps token ids to the logits of masked tokens. All sizes grow, as in `BERT`.
    The feedforward networks have the exact GELU.

    Widths keep the function where each unit of `hidden_dim` is copied equally
    often. New blocks that add nothing keep it but for the epsilon of the norms
    that are repeated, 1e-5 by default.

    Args:
        vocabulary_size: int, the number of tokens.
        num_layers: int, the number of transformer blocks; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        max_sequence_length: int, the number of learned positions.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention scores.
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
        `"padding_mask"` (1 for tokens, 0 for padding; by default all one) and
        optionally `"masked_positions"`, with shape `(batch, predictions)`, the
        positions that are predicted (by default all).

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        token at each position, or `(batch, predictions, vocabulary_size)`.
        Which of them to train on is up to the sample weights.

    Raises:
        GrowthError: a size is no positive integer, a rate is not in `[0, 1)`,
            or `num_heads` does not divide `hidden_dim` and no `head_dim` is
            given.

    Example:

    >>> model = RoBERTa(vocabulary_size=256, num_layers=2, num_heads=2,
    ...     hidden_dim=16, intermediate_dim=64, max_sequence_length=32)
    >>> model.grow({"hidden_dim": 32}, seed=0).exact
    True

    Reference:

    - Liu et al., "RoBERTa" (1907.11692), Sec. 2.2; the encoder's variables are
      those of KerasHub's `RobertaBackbone`.
    """

    network_class = RoBERTaNetwork
    example = Example(
        sizes={
            "vocabulary_size": 11,
            "num_layers": 2,
            "num_heads": 3,
            "head_dim": 4,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "max_sequence_length": 5,
            "dropout": 0.0,
        },
        exact={"hidden_dim": 16, "intermediate_dim": 14},
        gated={"num_heads": 4, "num_layers": 3},
    )
