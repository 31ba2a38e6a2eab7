"""How the learning rate goes over a run, and what it does at a growth."""

import keras
from keras import ops

from kgrow.schedules.learning_rate.policies import (
    Asymmetric,
    Reset,
    Rewarm,
    Transfer,
)

WARM_UP = 0.05  # of a run
_WSD_DECAY = 0.2


@keras.saving.register_keras_serializable("laboratory")
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises, stays, and falls to zero, on straight lines.

    Args:
        rate: Float, the highest.
        steps: Integer, at which it is zero.
        warm_up: Integer, steps of rising.
        decay: Float, the part of the steps in which it falls.

    Example:

    >>> schedule = WarmupStableDecay(1.0, 100, 5, 0.2)
    >>> [round(float(schedule(step)), 2) for step in (1, 5, 80, 90, 100)]
    [0.2, 1.0, 1.0, 0.5, 0.0]

    Reference:

    - Hu et al., "MiniCPM" (2404.06395), Sec. 4.
    """

    def __init__(self, rate, steps, warm_up, decay=_WSD_DECAY):
        super().__init__()
        self.rate = rate
        self.steps = steps
        self.warm_up = warm_up
        self.decay = decay

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = step / max(1, self.warm_up)
        falling = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.rate * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self):
        return {
            "rate": self.rate,
            "steps": self.steps,
            "warm_up": self.warm_up,
            "decay": self.decay,
        }


def _cosine(rate, steps, warm_up):
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warm_up),
        warmup_target=rate,
        warmup_steps=warm_up,
    )


def _wsd(part):
    def schedule(rate, steps, warm_up):
        return WarmupStableDecay(rate, steps, warm_up, part)

    return schedule


DECAYS = {
    "cosine": _cosine,
    "wsd": _wsd(_WSD_DECAY),
    "wsd-10": _wsd(0.1),
    "wsd-40": _wsd(0.4),
}

# What becomes of the rate when the model grows, by the number of steps.
AT_GROWTH = {
    "carry": lambda steps: None,
    "law": lambda steps: Transfer(),
    "reset": lambda steps: Reset(stretch=True),
    "rewarm": lambda steps: Rewarm(max(1, steps // 20)),
    "new-slowly": lambda steps: Asymmetric(new=0.0, steps=max(1, steps // 20)),
    "new-half": lambda steps: Asymmetric(new=0.5),
}


def schedule(decay, rate, steps):
    """The learning rate of a run, zero at its end."""
    return DECAYS[decay](rate, steps, max(1, round(WARM_UP * steps)))
