"""The optimizer of a run, and its learning rate."""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError

DECAYS = ("linear", "cosine", "constant")
# Gains, shifts, biases, tokens and positions are not decayed.
_NOT_DECAYED = ["^(bias|beta|gamma|scale|token|position|embeddings)$"]


@keras.saving.register_keras_serializable("kgrow_scripts")
class WarmupLinear(keras.optimizers.schedules.LearningRateSchedule):
    """Up along a line, and down along another.

    Args:
        peak: float, the highest rate.
        warmup_steps: int, after how many steps it is reached.
        total_steps: int, after how many it is zero again.

    Example:

    >>> rate = WarmupLinear(1.0, 2, 4)
    >>> [float(rate(step)) for step in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, peak, warmup_steps, total_steps):
        super().__init__()
        if not 0 <= warmup_steps < total_steps:
            raise GrowthError(
                "The warmup ends before the run does. Received: "
                f"warmup_steps={warmup_steps}, total_steps={total_steps}"
            )
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        up = step / max(self.warmup_steps, 1)
        down = (self.total_steps - step) / (
            self.total_steps - self.warmup_steps
        )
        return self.peak * ops.clip(ops.minimum(up, down), 0.0, 1.0)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


def add_flags(parser):
    """Adds the flags of the optimizer."""
    add = parser.add_argument
    add("--learning-rate", type=float, default=1e-4)
    add("--warmup-steps", type=int, default=0)
    add("--decay", choices=DECAYS, default="linear")
    add("--weight-decay", type=float, default=0.01)
    add("--clip-norm", type=float, help="of all gradients together")
    add("--beta-2", type=float, default=0.999)
    add("--epsilon", type=float, default=1e-8)


def learning_rate(options, total_steps):
    """The schedule that the flags describe.

    Raises:
        GrowthError: the warmup is as long as the run.
    """
    peak, warmup = options.learning_rate, options.warmup_steps
    if options.decay == "constant" and not warmup:
        return peak
    if options.decay == "linear":
        return WarmupLinear(peak, warmup, total_steps)
    if warmup >= total_steps:
        raise GrowthError(
            "The warmup ends before the run does. Received: "
            f"warmup_steps={warmup}, total_steps={total_steps}"
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else peak,
        total_steps - warmup,
        alpha=1.0 if options.decay == "constant" else 0.0,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def optimizer(options, total_steps):
    """AdamW as the flags describe it."""
    made = keras.optimizers.AdamW(
        learning_rate(options, total_steps),
        weight_decay=options.weight_decay,
        global_clipnorm=options.clip_norm,
        beta_2=options.beta_2,
        epsilon=options.epsilon,
    )
    made.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return made
