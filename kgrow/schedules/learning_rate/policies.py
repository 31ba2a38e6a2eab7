"""Policies that change the learning rate when the model grows."""

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.scalar_checks import check_number
from kgrow.layers.argument_checks import integer


class LearningRatePolicy:
    """Base class of learning rate policies.

    A policy acts on any Keras `LearningRateSchedule` through an
    `EventSchedule`, which it moves, or on the rates of single entries.
    Several go together in a list, and act in its order.

    Attributes:
        needs_schedule: bool, whether a constant rate will not do.
        bends: bool, whether it changes the schedule.
    """

    needs_schedule = False
    bends = True

    def bend(self, schedule, step, total_steps=None):
        """Changes a schedule from a step on.

        Args:
            schedule: `EventSchedule`, changed in place.
            step: int, the optimizer's iterations at the growth.
            total_steps: int, those at the end of the run, or `None` if it is
                not known.
        """
        raise NotImplementedError

    def scaled(self, factor):
        """The same policy with its numbers of steps multiplied."""
        config = self.get_config()
        for name in ("steps", "to"):
            if config.get(name):
                config[name] = max(round(config[name] * factor), 1)
        return type(self)(**config)

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        arguments = (f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({', '.join(arguments)})"

    def __eq__(self, other):
        return type(self) is type(other) and (
            self.get_config() == other.get_config()
        )

    __hash__ = None


@keras.saving.register_keras_serializable("kgrow")
class Keep(LearningRatePolicy):
    """The schedule runs on as if nothing had happened.

    Example:

    >>> Keep().scaled(2.0)
    Keep()
    """

    bends = False


@keras.saving.register_keras_serializable("kgrow")
class Reset(LearningRatePolicy):
    """The rate goes back to its maximum.

    The schedule goes back to where it was first at the largest rate of those
    it has passed, which is the end of its warm-up, and runs on from there; see
    `EventSchedule.peak()` for how that is found. During the warm-up nothing
    happens, and a constant rate stays as it is.

    With the schedule's own slope the run ends before the schedule does, at a
    rate that is not fully decayed. With `stretch` the rest of the way is
    shortened to what is left of the run, so that it ends where it would have
    ended without the growth.

    Args:
        stretch: bool; if `True`, the number of steps of the run must be known.

    Example:

    >>> import keras
    >>> from kgrow.schedules.learning_rate.events import EventSchedule
    >>> linear = keras.optimizers.schedules.PolynomialDecay(1.0, 8, 0.0)
    >>> kept, stretched = EventSchedule(linear), EventSchedule(linear)
    >>> Reset().bend(kept, step=4)
    >>> Reset(stretch=True).bend(stretched, step=4, total_steps=8)
    >>> [float(kept(step)) for step in (3, 4, 6, 8)]
    [0.625, 1.0, 0.75, 0.5]
    >>> [float(stretched(step)) for step in (3, 4, 6, 8)]
    [0.625, 1.0, 0.5, 0.0]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), App. D, after Gu et
      al., "On the Transformer Growth for Progressive BERT Training"
      (2010.12562): reset to the maximum, with the schedule's own slope.
    """

    def __init__(self, stretch=False):
        if not isinstance(stretch, bool):
            raise GrowthError(
                f"`stretch` is True or False. Received: stretch={stretch!r}"
            )
        self.stretch = stretch

    def bend(self, schedule, step, total_steps=None):
        peak, scale = schedule.peak(schedule.position(step)), 1
        if self.stretch:
            if total_steps is None or total_steps <= step:
                raise GrowthError(
                    "`Reset(stretch=True)` fits the schedule into what is left "
                    "of the run, so its number of steps must be known, and "
                    f"larger than {step}. Received: total_steps={total_steps}"
                )
            end = schedule.position(total_steps)
            scale = (end - peak) / (total_steps - step)
        schedule.go(step, peak, scale)

    def get_config(self):
        return {"stretch": self.stretch}


@keras.saving.register_keras_serializable("kgrow")
class Rewind(LearningRatePolicy):
    """The schedule goes back, and runs through the same rates again.

    It goes back to the start at most, and never forward. A constant rate stays
    as it is.

    Args:
        steps: int, how far to go back; or
        to: int, the position in the schedule to go back to.

    Example:

    >>> import keras
    >>> from kgrow.schedules.learning_rate.events import EventSchedule
    >>> linear = keras.optimizers.schedules.PolynomialDecay(1.0, 8, 0.0)
    >>> schedule = EventSchedule(linear)
    >>> Rewind(steps=2).bend(schedule, step=4)
    >>> [float(schedule(step)) for step in (3, 4, 5, 6)]
    [0.625, 0.75, 0.625, 0.5]
    """

    def __init__(self, steps=None, to=None):
        if (steps is None) == (to is None):
            raise GrowthError(
                "Say either how many `steps` to go back or where `to`. "
                f"Received: steps={steps!r}, to={to!r}"
            )
        self.steps = None if steps is None else integer("steps", steps, 1)
        self.to = None if to is None else integer("to", to, 0)

    def bend(self, schedule, step, total_steps=None):
        del total_steps
        now = schedule.position(step)
        to = self.to if self.steps is None else now - self.steps
        schedule.go(step, max(min(to, now), 0), schedule.scale(step))

    def get_config(self):
        return {"steps": self.steps, "to": self.to}


@keras.saving.register_keras_serializable("kgrow")
class Rewarm(LearningRatePolicy):
    """The rate warms up again: it is multiplied by 1/n, 2/n, ..., 1.

    The schedule itself runs on. After a `Reset` in the same list it is the
    maximum that is warmed up to.

    Args:
        steps: int, n.

    Example:

    >>> from kgrow.schedules.learning_rate.events import Constant, EventSchedule
    >>> schedule = EventSchedule(Constant(1.0))
    >>> Rewarm(4).bend(schedule, step=10)
    >>> [float(schedule(step)) for step in (9, 10, 11, 12, 13, 14)]
    [1.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    needs_schedule = True

    def __init__(self, steps):
        self.steps = integer("steps", steps, 1)

    def bend(self, schedule, step, total_steps=None):
        del total_steps
        schedule.warm(step, self.steps)

    def get_config(self):
        return {"steps": self.steps}


@keras.saving.register_keras_serializable("kgrow")
class Transfer(LearningRatePolicy):
    """Every variable learns at a rate with which the small run goes on.

    The growth itself computes one factor per variable from the plan and the
    optimizer; see `GrowableModel.grow(learning_rate="transfer")`. Goes with
    policies that change the schedule, in one list.

    Example:

    >>> Transfer().scaled(2.0)
    Transfer()
    """

    bends = False


@keras.saving.register_keras_serializable("kgrow")
class Asymmetric(LearningRatePolicy):
    """Old and new entries learn at different rates.

    What the optimizer does to an entry in a step is multiplied by a factor;
    its moments are not. An entry is old if the first copy of one that was there
    is in it, and new otherwise, as for `grow(..., trainable="new")`; a
    factor of 0 for good freezes entries in the same way. Needs a strategy that
    copies.

    A step holds the weights twice while it lasts. Where the optimizer
    overwrites weights with their averages, it does so in full.

    Of growths that follow each other, the factors multiply: what is new once
    stays new, until its `steps` are over, and is old beside what comes later.

    Args:
        new: float of at least 0, factor for what the growth adds.
        old: float of at least 0, factor for what was there.
        steps: int, after which both are 1 again, on a straight line from the
            growth on; or `None`, for good.

    Example:

    The new entries start from a rate of zero, the old ones go on:

    >>> Asymmetric(new=0.0, steps=1000).scaled(0.5)
    Asymmetric(new=0.0, old=1.0, steps=500)

    Reference:

    - Yu et al., "SPARKLING" (2602.02472), whose asymmetric re-warming of the
      rate is the example's; the straight line is ours.
    """

    bends = False

    def __init__(self, new=1.0, old=1.0, steps=None):
        self.new = check_number("new", new, 0, 1e9)
        self.old = check_number("old", old, 0, 1e9)
        if steps is None and new == old == 0:
            raise GrowthError(
                "With both factors 0 for good, nothing would train. Received: "
                f"new={new!r}, old={old!r}, steps={steps!r}"
            )
        self.steps = None if steps is None else integer("steps", steps, 1)

    def get_config(self):
        return {"new": self.new, "old": self.old, "steps": self.steps}
