"""Triggers that end a stage by the metrics of the run.

A trigger is shown a reading now and then: a mean over the training batches
since the last one, or at the end of an epoch a metric of the validation. What
it remembers is plain data, saved with the model's weights, so a resumed run
decides as one that was never stopped.
"""

import math

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.scalar_checks import check_count, check_number


class Trigger:
    """Base class: ends a stage when `decide()` says so.

    Subclasses write `decide()`, `get_config()` and, where they have lengths
    in steps besides these, name them in `lengths`.

    Args:
        monitor: string, the metric that is read: `"loss"`, a compiled
            metric's name, or one of validation, such as `"val_loss"`, which
            is read at the end of epochs only.
        at_least: int, steps before which the stage does not end.
        at_most: int or `None`, steps after which it does in any case.
        every: int, steps between readings. Each makes the host wait for the
            device once.

    Attributes:
        state: dict, what it remembers, as data that JSON can hold.
    """

    lengths = ("at_least", "at_most", "every")

    def __init__(self, monitor="loss", at_least=0, at_most=None, every=50):
        self.monitor = monitor
        self.at_least = at_least
        self.at_most = at_most
        self.every = every
        self.state = {}
        if not isinstance(monitor, str):
            raise GrowthError(
                "`monitor` is the name of a metric. Received: "
                f"monitor={monitor!r}"
            )
        self._check("at_least", 0)
        self._check("every", 1)
        if at_most is not None:
            self._check("at_most", 1)
            if self.at_most <= self.at_least:
                raise GrowthError(
                    "`at_most` must be greater than `at_least`. Received: "
                    f"at_least={at_least}, at_most={at_most}"
                )

    def over(self, progress):
        """Whether the stage is over, given the `Progress`."""
        if progress.ends is not None and progress.steps >= progress.ends:
            return True
        return self.at_most is not None and (
            progress.stage_steps >= self.at_most
        )

    def update(self, step, logs, seconds):
        """Takes a reading.

        Args:
            step: int, training steps since the stage began.
            logs: dict of readings, this trigger's among them or not.
            seconds: float, spent on training since the stage began.

        Returns:
            bool, whether the stage is to end.
        """
        value = logs.get(self.monitor)
        if value is None or not math.isfinite(value):
            return False
        fires = self.decide(step, float(value), float(seconds))
        return bool(fires) and step >= self.at_least

    def decide(self, step, value, seconds):
        """Whether the rule holds, given one more reading; see `update()`."""
        raise NotImplementedError

    def scaled(self, factor):
        """The same rule in a run that is `factor` times as long."""
        config = self.get_config()
        for name in self.lengths:
            if config[name]:
                config[name] = max(1, round(config[name] * factor))
        return type(self).from_config(config)

    def get_config(self):
        return {
            "monitor": self.monitor,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "every": self.every,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def _check(self, name, least):
        setattr(self, name, check_count(name, getattr(self, name), least))

    def _window(self, step, value, seconds):
        """Remembers a reading; those of the last `window` steps, once there
        is so much."""
        readings = self.state.setdefault("readings", [])
        readings.append([step, value, seconds])
        # One before the window's begin, so that it is covered.
        while len(readings) > 2 and readings[1][0] <= step - self.window:
            readings.pop(0)
        if step - readings[0][0] < self.window:
            return None
        return np.array(readings).T

    def __repr__(self):
        arguments = ", ".join(
            f"{k}={v!r}" for k, v in self.get_config().items()
        )
        return f"{type(self).__name__}({arguments})"

    def __str__(self):
        found = type(self).__name__
        if self.at_most is not None:
            found += f", at most +{self.at_most:,}"
        return found

    def __eq__(self, other):
        return type(self) is type(other) and (
            self.get_config() == other.get_config()
        )

    __hash__ = None


@keras.saving.register_keras_serializable("kgrow")
class Plateau(Trigger):
    """Ends a stage when a metric has stopped falling.

    Args:
        patience: int, steps without a new best.
        monitor: string, see `Trigger`.
        min_delta: float, how far below the best a value must lie to be one.
        smoothing: float in `[0, 1)`, the weight of the past in the running
            average that is looked at; 0 looks at the readings themselves.
        at_least, at_most, every: see `Trigger`.

    Example:

    >>> plateau = Plateau(patience=20)
    >>> losses = [3.0, 2.0, 2.1, 2.0]
    >>> [plateau.update(10 * i, {"loss": l}, 0.0)
    ...     for i, l in enumerate(losses)]
    [False, False, False, True]
    """

    lengths = (*Trigger.lengths, "patience")

    def __init__(
        self,
        patience,
        monitor="loss",
        min_delta=0.0,
        smoothing=0.0,
        at_least=0,
        at_most=None,
        every=50,
    ):
        super().__init__(monitor, at_least, at_most, every)
        self.patience = patience
        self.min_delta = check_number("min_delta", min_delta)
        self.smoothing = check_number("smoothing", smoothing, 0, 1)
        self._check("patience", 1)

    def decide(self, step, value, seconds):
        del seconds
        mean = self.state.get("mean", value)
        mean = self.smoothing * mean + (1 - self.smoothing) * value
        self.state["mean"] = mean
        best = self.state.get("best")
        if best is None or mean < best - self.min_delta:
            self.state.update(best=mean, step=step)
        return step - self.state["step"] >= self.patience

    def get_config(self):
        return {
            "patience": self.patience,
            "min_delta": self.min_delta,
            "smoothing": self.smoothing,
            **super().get_config(),
        }


@keras.saving.register_keras_serializable("kgrow")
class LossSlope(Trigger):
    """Ends a stage when the loss falls more slowly than a given slope.

    The slope is that of a straight line, fitted by least squares to the
    readings of the last `window` steps. The stage ends once it is above
    `threshold`, that is, less steep.

    Staged training grows when the small model's curve has become as flat as
    the curve of the large one is at the loss that it starts from. Measure
    that slope on a short run of the large model, with `loss_slope()`, and
    give it as `threshold`.

    Args:
        threshold: float, negative: loss per step, or per unit of the natural
            logarithm of the step with `log_steps=True`.
        window: int, steps.
        monitor: string, see `Trigger`.
        log_steps: bool, whether the loss is fitted over the logarithm of the
            steps since the stage began, in which curves are straighter.
        at_least, at_most, every: see `Trigger`.

    Example:

    >>> rule = LossSlope(-0.01, window=20)
    >>> losses = [3.0, 2.0, 1.5, 1.45, 1.4]
    >>> [rule.update(10 * i, {"loss": l}, 0.0) for i, l in enumerate(losses)]
    [False, False, False, False, True]

    Reference:

    - Shen et al., "Staged Training for Transformer Language Models"
      (2203.06211). Deviates: the paper decides offline, on the whole curve.
    """

    lengths = (*Trigger.lengths, "window")

    def __init__(
        self,
        threshold,
        window,
        monitor="loss",
        log_steps=False,
        at_least=0,
        at_most=None,
        every=50,
    ):
        super().__init__(monitor, at_least, at_most, every)
        self.threshold = check_number("threshold", threshold)
        self.window = window
        self.log_steps = bool(log_steps)
        self._check("window", 1)
        if not self.threshold < 0:
            raise GrowthError(
                "`threshold` is the slope of a falling loss, less than 0. "
                f"Received: threshold={threshold!r}"
            )

    def decide(self, step, value, seconds):
        if self.log_steps and step < 1:
            return False
        window = self._window(step, value, seconds)
        if window is None:
            return False
        slope = loss_slope(window[0], window[1], self.log_steps)
        self.state["slope"] = slope
        return slope > self.threshold

    def scaled(self, factor):
        if not self.log_steps:
            # Fewer steps for the same fall: each falls more.
            config = {**self.get_config(), "threshold": self.threshold / factor}
            return Trigger.scaled(type(self).from_config(config), factor)
        return super().scaled(factor)

    def get_config(self):
        return {
            "threshold": self.threshold,
            "window": self.window,
            "log_steps": self.log_steps,
            **super().get_config(),
        }


@keras.saving.register_keras_serializable("kgrow")
class Rate(Trigger):
    """Ends a stage when the loss falls more slowly in time than another model.

    The pre-training rate is the fall of the loss in a second, over the last
    `window` steps. The stage ends once it is below `threshold`, the rate of
    the next structure, measured elsewhere.

    Clocks differ between machines. Where several processes train one model,
    each would decide by its own; use `LossSlope` there.

    Args:
        threshold: float, positive, loss per second.
        window: int, steps.
        monitor: string, see `Trigger`.
        at_least, at_most, every: see `Trigger`.

    Example:

    >>> rule = Rate(0.1, window=10)
    >>> readings = [(0, 3.0, 0.0), (10, 2.0, 5.0), (20, 1.9, 10.0)]
    >>> [rule.update(s, {"loss": l}, t) for s, l, t in readings]
    [False, False, True]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eq. 21 and the
      paragraph on stage duration, which names the rule and leaves it, since
      the rate of the next structure is known in hindsight only.
    """

    lengths = (*Trigger.lengths, "window")

    def __init__(
        self,
        threshold,
        window,
        monitor="loss",
        at_least=0,
        at_most=None,
        every=50,
    ):
        super().__init__(monitor, at_least, at_most, every)
        self.threshold = check_number("threshold", threshold)
        self.window = window
        self._check("window", 1)
        if not self.threshold > 0:
            raise GrowthError(
                "`threshold` is the fall of the loss in a second, more than "
                f"0. Received: threshold={threshold!r}"
            )

    def decide(self, step, value, seconds):
        window = self._window(step, value, seconds)
        if window is None or window[2, -1] <= window[2, 0]:
            return False
        rate = (window[1, 0] - window[1, -1]) / (window[2, -1] - window[2, 0])
        self.state["rate"] = float(rate)
        return rate < self.threshold

    def get_config(self):
        return {
            "threshold": self.threshold,
            "window": self.window,
            **super().get_config(),
        }


def loss_slope(steps, losses, log_steps=False):
    """The slope of the straight line through a piece of a loss curve.

    Args:
        steps: numbers, where the losses were read; positive with `log_steps`.
        losses: as many numbers.
        log_steps: bool, whether the line goes over the logarithm of steps.

    Returns:
        float, loss per step, or per unit of the natural logarithm.

    Example:

    >>> round(loss_slope([0, 10, 20], [3.0, 2.5, 2.0]), 6)
    -0.05
    """
    x = np.asarray(steps, "float64")
    x = np.log(x) if log_steps else x
    x = x - x.mean()
    y = np.asarray(losses, "float64")
    return float(np.sum(x * (y - y.mean())) / np.sum(x * x))
