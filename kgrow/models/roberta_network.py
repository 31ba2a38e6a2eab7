"""RoBERTa as one Keras model, from token ids to masked-LM logits."""

import keras

from kgrow.layers import argument_checks
from kgrow.layers.gelu import gelu_exact
from kgrow.models.encoder_network import EncoderNetwork


@keras.saving.register_keras_serializable("kgrow")
class RoBERTaNetwork(EncoderNetwork):
    """A masked language model: RoBERTa with its tied output projection.

    BERT's architecture without segments. The encoder's variables have the
    names, shapes and meaning of those in KerasHub's `RobertaBackbone`, except
    `self_attention`, which is `self_attention_layer` there, and the two
    embeddings, which are inside a layer `embeddings` there. As there, the first
    token has the position 0. The feedforward networks have the exact GELU.

    Example:

    >>> network = RoBERTaNetwork(
    ...     vocabulary_size=50,
    ...     num_layers=2,
    ...     num_heads=2,
    ...     hidden_dim=8,
    ...     intermediate_dim=32,
    ...     max_sequence_length=16,
    ... )
    >>> token_ids = keras.ops.ones((1, 5), "int32")
    >>> padding_mask = keras.ops.convert_to_tensor([[1, 1, 1, 0, 0]])
    >>> logits = network(
    ...     {"token_ids": token_ids, "padding_mask": padding_mask}
    ... )
    >>> logits.shape == (1, 5, 50)
    True

    Args:
        vocabulary_size: int, the number of tokens.
        num_layers: int, the number of transformer blocks; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        max_sequence_length: int, the number of learned positions.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention scores.
        head_dim: int or `None`, the size of one head; by default
            `hidden_dim // num_heads`.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past
            the middle blocks in training.
        pooling: int, how many neighbouring tokens are averaged into one
            before they query the first block, see `pool_tokens`; blocks above
            work on the shorter sequence. With more than 1 the inputs need
            `"masked_positions"`.
        gates: list of `Gate`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Integer tensor with shape `(batch, length)`, the token ids; or a dict
        of such tensors with the keys `"token_ids"`, optionally
        `"padding_mask"` (1 for tokens, 0 for padding; by default all one) and
        optionally `"masked_positions"`, with shape `(batch, predictions)`, the
        positions that are predicted (by default all).

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        token at each position, or `(batch, predictions, vocabulary_size)`.

    Raises:
        ValueError: a size is not a positive integer, `dropout` is not in
            `[0, 1)`, or `head_dim` is not given and `num_heads` does not
            divide `hidden_dim`.

    Reference:

    - [Liu et al., 2019](https://arxiv.org/abs/1907.11692)
    """

    fields = (
        "vocabulary_size",
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "max_sequence_length",
        "dropout",
        "head_dim",
        "layer_norm_epsilon",
        "layer_drop",
        "token_drop",
        "pooling",
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
