"""Dropout whose random state has a stable path."""

import keras

from kgrow.layers import argument_checks


@keras.saving.register_keras_serializable("kgrow")
class Dropout(keras.layers.Dropout):
    """The stock dropout layer, with its seed state created in `build`.

    The stock layer creates it in its constructor, outside any name scope and
    under a number from a global counter, so that its path differs from one
    instance of a network to the next. Here it is
    `<layer path>/seed_generator/seed_generator_state`.

    Example:

    >>> layer = Dropout(0.1, name="dropout")
    >>> layer.build((None, 8))
    >>> layer.variables[0].path
    'dropout/seed_generator/seed_generator_state'

    Args:
        rate: float in `[0, 1)`, the fraction of the inputs to drop.
        noise_shape: tuple of ints or `None`, the shape of the dropout mask
            where it is broadcast to the inputs.
        seed: int or `None`, the random seed.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.
    """

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        super().__init__(0.0, noise_shape=noise_shape, seed=seed, **kwargs)
        self.rate = argument_checks.rate("rate", rate)

    def build(self, input_shape=None):
        if self.rate > 0:
            self.seed_generator = keras.random.SeedGenerator(
                self.seed, name="seed_generator"
            )
