"""A strategy, an optimizer with a rule and a callback, each written outside
the package.

Importing this module registers them, and pytest can (`-p helpers.outsiders`).
"""

import keras

from kgrow.algebra.expansion import Expansion
from kgrow.growth.optimizer.slot_rules import SlotRule, register_slot_rule
from kgrow.strategies import Strategy, register


@register("mirror", aliases=("looking_glass",))
class Mirror(Strategy):
    """New units copy the old ones from the last to the first.

    Args:
        share: float, of a weight that the old one of two copies keeps.
    """

    grows = {"width"}

    def __init__(self, share=0.25):
        self.share = share

    def expand_width(self, dim, source, target, rng):
        del dim, rng
        back = [*range(source), *range(source - 1, -1, -1)]
        indices = [back[i % len(back)] for i in range(target)]
        counts = [indices.count(i) for i in indices]
        shares = [
            1.0
            if count == 1
            else self.share
            if position < source
            else (1.0 - self.share) / (count - 1)
            for position, count in enumerate(counts)
        ]
        return Expansion.select(source, indices, shares)


class Rooted(keras.optimizers.Optimizer):
    """Momentum of roots of gradients: no degree that is measured fits it."""

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.pull = self.add_optimizer_variables(variables, "pull")

    def update_step(self, gradient, variable, learning_rate):
        pull = self.pull[self._get_variable_index(variable)]
        root = keras.ops.sign(gradient) * keras.ops.sqrt(
            keras.ops.abs(gradient)
        )
        self.assign(pull, 0.9 * pull + root)
        rate = keras.ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * pull)


class SmoothedLoss(keras.callbacks.Callback):
    """A running mean of the loss, which a restart does not lose."""

    def on_epoch_end(self, epoch, logs=None):
        state = self.model.callback_state
        old = state.get("smoothed_loss", logs["loss"])
        state["smoothed_loss"] = 0.9 * old + 0.1 * logs["loss"]


register_slot_rule("Rooted.pull", SlotRule(1))
