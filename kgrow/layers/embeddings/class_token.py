"""A learned token in front of a sequence."""

import keras
from keras import ops

from kgrow.layers import argument_checks


@keras.saving.register_keras_serializable("kgrow")
class ClassToken(keras.layers.Layer):
    """Puts a trainable vector in front of every sequence.

    What a classifier reads, or, as a second one, what a teacher's answer is
    read from.

    Example:

    >>> layer = ClassToken()
    >>> layer(keras.ops.zeros((2, 4, 8))).shape == (2, 5, 8)
    True

    Args:
        has_position: bool, whether a second trainable vector, for the place
            in front of the sequence, is added to the token. The sum could be
            one vector; published weights have two.
        initializer: initializer of both.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, length, features)`. Optionally `gate`, a
        tensor with shape `(features,)` and values in `[0, 1]` that the token
        is multiplied by.

    Output shape:
        Tensor with shape `(batch, 1 + length, features)`; of a length of zero
        the token alone is left.

    Reference:

    - [Devlin et al., 2019](https://arxiv.org/abs/1810.04805)
    - [Touvron et al., 2021](https://arxiv.org/abs/2012.12877), Sec. 4, the
      distillation token.
    """

    def __init__(self, has_position=False, initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.has_position = bool(has_position)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        shape = (1, 1, input_shape[-1])
        self.token = self.add_weight(
            name="token",
            shape=shape,
            initializer=argument_checks.fresh(self.initializer),
        )
        if self.has_position:
            self.position = self.add_weight(
                name="position",
                shape=shape,
                initializer=argument_checks.fresh(self.initializer),
            )

    def call(self, inputs, gate=None):
        token = ops.convert_to_tensor(self.token)
        if self.has_position:
            token = token + ops.convert_to_tensor(self.position)
        if gate is not None:
            token = token * ops.cast(gate, token.dtype)
        shape = (ops.shape(inputs)[0], 1, token.shape[-1])
        token = ops.cast(ops.broadcast_to(token, shape), inputs.dtype)
        return ops.concatenate([token, inputs], axis=1)

    def compute_output_shape(self, input_shape):
        batch, length, features = input_shape
        return batch, None if length is None else length + 1, features

    def get_config(self):
        return {
            **super().get_config(),
            "has_position": self.has_position,
            "initializer": keras.initializers.serialize(self.initializer),
        }
