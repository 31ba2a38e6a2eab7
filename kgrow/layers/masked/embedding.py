"""An embedding whose new features come in gradually."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kgrow")
class MaskedEmbedding(keras.layers.ReversibleEmbedding):
    """The stock embedding, with an optional gate on its features.

    As `keras.layers.ReversibleEmbedding` it can be called in reverse, to read
    logits with the same table; there the inputs are gated already,
    that of the norm they come from, and the layer takes none.

    Args:
        input_dim: int, and all other arguments of
            `keras.layers.ReversibleEmbedding`.

    Call arguments:
        inputs: integer tensor; with `reverse=True` a tensor of shape `(...,
            output_dim)`.
        reverse: bool.
        gate: optional tensor of shape `(output_dim,)` with values in
            `[0, 1]`.

    Example:

    >>> layer = MaskedEmbedding(5, 2, embeddings_initializer="ones")
    >>> gate = keras.ops.convert_to_tensor([1.0, 0.0])
    >>> layer(keras.ops.zeros((1,), "int32"), gate=gate).tolist()
    [[1.0, 0.0]]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eq. 12.
    """

    def call(self, inputs, reverse=False, gate=None):
        x = super().call(inputs, reverse=reverse)
        if gate is None or reverse:
            return x
        return x * ops.cast(gate, x.dtype)
