"""Networks as users write them, in a module that can be imported."""

import keras


@keras.saving.register_keras_serializable("kgrow_tests")
class Block(keras.layers.Layer):
    """A branch of two dense layers behind a norm."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, input_shape):
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.norm.build(input_shape)
        self.up = keras.layers.Dense(self.inner, "gelu", name="up")
        self.up.build(input_shape)
        self.down = keras.layers.Dense(input_shape[-1], name="down")
        self.down.build((*input_shape[:-1], self.inner))

    def call(self, x):
        return self.down(self.up(self.norm(x)))


@keras.saving.register_keras_serializable("kgrow_tests")
class Tagger(keras.Model):
    """Token ids to tags, blocks on a residual stream."""

    def __init__(self, num_layers, width, inner, num_tags, **kwargs):
        super().__init__(**kwargs)
        self.num_layers, self.width = num_layers, width
        self.inner, self.num_tags = inner, num_tags
        self.embed = keras.layers.Embedding(20, width, name="embed")
        self.blocks = [
            Block(inner, name=f"block_{i}") for i in range(num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.tags = keras.layers.Dense(num_tags, name="tags")
        self.build((None, 6))

    def build(self, input_shape):
        stream = (None, None, self.width)
        self.embed.build(input_shape)
        for block in self.blocks:
            block.build(stream)
        self.norm.build(stream)
        self.tags.build(stream)
        self.built = True

    def call(self, token_ids):
        x = self.embed(token_ids)
        for block in self.blocks:
            x = x + block(x)
        return self.tags(self.norm(x))

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "width": self.width,
            "inner": self.inner,
            "num_tags": self.num_tags,
        }


@keras.saving.register_keras_serializable("kgrow_tests")
def build(units, width):
    """A functional model with a residual branch."""
    inputs = keras.Input((8,))
    x = keras.layers.Dense(width, name="inner")(inputs)
    branch = keras.layers.Dense(units, "relu", name="hidden")(x)
    x = x + keras.layers.Dense(width, name="out")(branch)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


@keras.saving.register_keras_serializable("kgrow_tests")
def build_sorted(units):
    """What sorts its units cannot have more of them."""
    inputs = keras.Input((8,))
    x = keras.layers.Dense(units, name="inner")(inputs)
    x = keras.ops.sort(x, axis=-1)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
