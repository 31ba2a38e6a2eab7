"""Where a stage ends: at a step, after epochs, after tokens, by a trigger.

All have one method, `over(progress)`: whether the stage that they bound is
over, now that so much has been trained. A plain integer counts steps.
"""

import numbers

import keras

from kgrow.algebra.deserialization import object_of
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.scalar_checks import check_count
from kgrow.schedules.triggers import Trigger


class Bound:
    """A number of something that is counted over all of training.

    Args:
        count: int, at least 1.
    """

    unit = None

    def __init__(self, count):
        self.count = check_count("until", count)

    def over(self, progress):
        """Whether that many have been trained, given the `Progress`."""
        return getattr(progress, self.unit) >= self.count

    def scaled(self, factor):
        """The same bound in a run that is `factor` times as long."""
        return type(self)(_rounded(self.count * factor))

    def get_config(self):
        return {"count": self.count}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        return f"{type(self).__name__}({self.count})"

    def __str__(self):
        return f"{self.count:,} {self.unit}"

    def __eq__(self, other):
        return type(self) is type(other) and self.count == other.count

    __hash__ = None


class Steps(Bound):
    """A number of training steps, the meaning of an integer `until`."""

    unit = "steps"

    def __str__(self):
        return f"{self.count:,}"


@keras.saving.register_keras_serializable("kgrow")
class Epochs(Bound):
    """A number of whole epochs, counted over all calls of `fit`.

    An epoch that was broken off does not count. One that `kgrow.fit` cuts
    short where a stage with other data begins does: it has its number in the
    `History`.

    Args:
        count: int, at least 1.

    Example:

    >>> Epochs(3)
    Epochs(3)
    """

    unit = "epochs"


@keras.saving.register_keras_serializable("kgrow")
class Tokens(Bound):
    """A number of tokens, rounded up to whole batches.

    A callback does not see the batches, so the stages must say how many
    tokens one has, by `batch_size` and `sequence_length`, or the callback, by
    `Growth(tokens_per_batch=...)`.

    Args:
        count: int, at least 1.

    Example:

    >>> Tokens(10_000_000)
    Tokens(10000000)
    """

    unit = "tokens"


_COMPACT = {"epochs": Epochs, "tokens": Tokens}


def get(until):
    """Converts the argument `until` of a stage to a bound.

    Args:
        until: int, `Epochs`, `Tokens`, a `Trigger`, or what `serialize()`
            made of one.

    Raises:
        GrowthError: it is none of these.

    Example:

    >>> get(1000), get({"epochs": 2})
    (Steps(1000), Epochs(2))
    """
    if isinstance(until, (Bound, Trigger)):
        return until
    if isinstance(until, numbers.Integral) and not isinstance(until, bool):
        return Steps(until)
    if isinstance(until, dict):
        if len(until) == 1 and (unit := next(iter(until))) in _COMPACT:
            return _COMPACT[unit](until[unit])
        try:
            bound = object_of(until, (Bound, Trigger), "where a stage ends")
        except Exception as error:
            raise GrowthError(
                f"A bound cannot be made of its config: {error} Received: "
                f"until={until!r}"
            ) from error
        if isinstance(bound, (Bound, Trigger)):
            return bound
    raise GrowthError(
        "`until` says where a stage ends: a training step as an integer, "
        "`Epochs(n)`, `Tokens(n)` or a trigger such as `Plateau(...)`. "
        f"Received: until={until!r}"
    )


def serialize(bound):
    """A bound as plain data, from which `get()` makes it again.

    Example:

    >>> serialize(Steps(5)), serialize(Epochs(2))
    (5, {'epochs': 2})
    """
    if isinstance(bound, Steps):
        return bound.count
    if type(bound) in _COMPACT.values():
        return {bound.unit: bound.count}
    return keras.saving.serialize_keras_object(bound)


def _rounded(number):
    return max(1, round(number))
