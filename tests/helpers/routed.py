"""A small network with experts behind a router."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("tests")
class Experts(layers.Layer):
    """Experts, of which each sample takes those of the largest scores.

    Args:
        experts: int, how many there are.
        top_k: int, how many a sample takes.
        units: int, of each expert.
        scores: `"all"` or `"taken"`, which scores a softmax normalizes, or
            `"none"`.
    """

    def __init__(self, experts, top_k, units, scores="all", **kwargs):
        super().__init__(**kwargs)
        self.experts = experts
        self.top_k = top_k
        self.units = units
        self.scores = scores

    def build(self, input_shape):
        width = input_shape[-1]
        self.router = layers.Dense(self.experts, name="router")
        self.router.build(input_shape)
        self.inner = self.add_weight(
            (self.experts, width, self.units), name="inner"
        )
        self.outer = self.add_weight(
            (self.experts, self.units, width), name="outer"
        )

    def call(self, inputs):
        scores = self.router(inputs)
        if self.scores == "all":
            scores = ops.softmax(scores)
        taken, which = ops.top_k(scores, self.top_k)
        if self.scores == "taken":
            taken = ops.softmax(taken)
        chosen = ops.one_hot(which, self.experts, dtype=taken.dtype)
        scores = ops.sum(chosen * taken[..., None], axis=1)
        hidden = ops.tanh(ops.einsum("bd,edf->ebf", inputs, self.inner))
        each = ops.einsum("ebf,efd->ebd", hidden, self.outer)
        return ops.sum(each * ops.transpose(scores)[..., None], axis=0)


def routed(experts, top_k, units, scores="all"):
    """A residual branch of experts between two dense layers."""
    inputs = keras.Input((4,))
    x = layers.Dense(6, name="stem")(inputs)
    x = x + Experts(experts, top_k, units, scores, name="moe")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


# The axes of `routed`.
RULES = {
    "stem/kernel": "_ _ ->",
    "stem/bias": "_ ->",
    "moe/router/kernel": "_ -> experts",
    "moe/router/bias": "-> experts",
    "moe/inner": "-> experts _ units",
    "moe/outer": "experts units _ ->",
    "head/kernel": "_ _ ->",
    "head/bias": "_ ->",
}
