"""A learning-rate schedule that goes back, or slows down, at events."""

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from kgrow.algebra.deserialization import object_of
from kgrow.schedules.learning_rate.policies import LearningRatePolicy

# Points at which a schedule is evaluated at once to find its maximum.
_POINTS = 129
# Rates that differ by less, relatively, are the same but for rounding.
_SAME = 1e-6


@keras.saving.register_keras_serializable("kgrow")
class Constant(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that never changes.

    Keras has none, as a float does the same; but a float is a variable of the
    optimizer, and policies such as `Rewarm` need a schedule to act on.

    Args:
        learning_rate: float.

    Example:

    >>> float(Constant(0.5)(100))
    0.5
    """

    def __init__(self, learning_rate):
        self.learning_rate = float(learning_rate)

    def __call__(self, step):
        del step
        return ops.convert_to_tensor(self.learning_rate, "float32")

    def get_config(self):
        return {"learning_rate": self.learning_rate}


@keras.saving.register_keras_serializable("kgrow")
class EventSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, changed by policies from certain steps on.

    Between two events it runs through the other schedule from some position
    on, at some pace; a policy that is applied at an event moves the position,
    or multiplies the rate for a while.

    Args:
        schedule: `keras.optimizers.schedules.LearningRateSchedule`.
        events: list of dicts with `step`, int; `policy`, a config that Keras
            makes a policy of; and `total_steps`, int or `None`.

    Example:

    >>> import keras
    >>> from kgrow.schedules.learning_rate.apply_policies import serialize
    >>> from kgrow.schedules.learning_rate.policies import Rewind
    >>> base = keras.optimizers.schedules.PolynomialDecay(1.0, 10, 0.0)
    >>> policy = serialize([Rewind(to=0)])[0]
    >>> event = {"step": 4, "policy": policy, "total_steps": None}
    >>> schedule = EventSchedule(base, [event])
    >>> [round(float(schedule(step)), 1) for step in (3, 4, 6)]
    [0.7, 1.0, 0.8]
    """

    def __init__(self, schedule, events=()):
        self.schedule = schedule
        self.events = []
        # From which step on, the position there, positions a step.
        self._pieces = []
        # From which step on the rate is multiplied by 1/n, 2/n, ..., 1.
        self._warmups = []
        for event in events:
            self._add(event)

    def _add(self, event):
        policy = object_of(
            event["policy"], LearningRatePolicy, "a learning-rate policy"
        )
        policy.bend(self, event["step"], event["total_steps"])
        self.events.append(event)

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        position = step
        if not all(_is_whole(*piece) for piece in self._pieces):
            position = ops.cast(step, "float32")
        for start, to, scale in self._pieces:
            since = ops.cast(step - start, position.dtype)
            moved = to + since if scale == 1 else to + since * scale
            position = ops.where(step >= start, moved, position)
        rate = ops.convert_to_tensor(self.schedule(position))
        for start, steps in self._warmups:
            since = ops.cast(step - start + 1, "float32")
            factor = ops.minimum(since / float(steps), 1.0)
            warm = rate * ops.cast(factor, rate.dtype)
            rate = ops.where(step >= start, warm, rate)
        return rate

    def position(self, step):
        """The position in the base schedule at a step, a float."""
        position = step
        for start, to, scale in self._pieces:
            if step >= start:
                position = to + (step - start) * scale
        return position

    def scale(self, step):
        """How many positions of the other schedule a step takes."""
        update_scales = [
            scale for start, _, scale in self._pieces if step >= start
        ]
        return update_scales[-1] if update_scales else 1

    def peak(self, last):
        """The position at which the other schedule is first at its maximum.

        Exact up to some 128 positions, and for schedules that rise and then
        fall or stay, in any length. Of several summits that are closer
        together than a 128th of the way, a lower one may be taken.

        Args:
            last: number, positions up to this one are looked at.
        """
        last = int(last)
        low, high = 0, last
        while True:
            places, rates = self._rates(low, high)
            best = int(np.argmax(rates))
            if len(places) > high - low:
                break
            low = places[max(best - 1, 0)]
            high = places[min(best + 1, len(places) - 1)]
        least = rates[best] - abs(rates[best]) * _SAME
        low, high = 0, places[best]
        while True:
            places, rates = self._rates(low, high)
            first = int(np.argmax(rates >= least))
            if len(places) > high - low:
                return places[first]
            low, high = places[max(first - 1, 0)], places[first]

    def go(self, step, to, scale):
        """Stands at the position `to` at a step, and goes on at a pace."""
        self._pieces.append((step, to, scale))

    def warm(self, step, steps):
        """Multiplies the rate by a factor that rises linearly to 1."""
        self._warmups.append((step, steps))

    def _rates(self, low, high):
        """Positions evenly between two, and the rates there."""
        places = np.linspace(low, high, min(_POINTS, high - low + 1))
        places = np.rint(places).astype("int32")
        # Trace once: tracing dominates the cost.
        rates = ops.map(
            lambda place: ops.cast(self.schedule(place), "float32"),
            ops.convert_to_tensor(places),
        )
        return places.tolist(), ops.convert_to_numpy(rates)

    def get_config(self):
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "events": self.events,
        }

    @classmethod
    def from_config(cls, config):
        schedule = config["schedule"]
        if isinstance(schedule, dict):
            schedule = object_of(
                schedule, LearningRateSchedule, "a learning-rate schedule"
            )
        return cls(schedule, config["events"])


def with_events(schedule, events):
    """A schedule with these events instead of those that it has.

    Raises:
        GrowthError: a policy cannot act on the schedule.
    """
    base = schedule.schedule if is_bent(schedule) else schedule
    if not events:
        return base
    if is_bent(schedule) and schedule.events == events[: len(schedule.events)]:
        # Skip lookups that were done before.
        bent = EventSchedule(base)
        bent.events = list(schedule.events)
        bent._pieces = list(schedule._pieces)
        bent._warmups = list(schedule._warmups)
        for event in events[len(schedule.events) :]:
            bent._add(event)
        return bent
    return EventSchedule(base, events)


def is_bent(schedule):
    """Whether it is an `EventSchedule`."""
    return isinstance(schedule, EventSchedule)


def _is_whole(*numbers):
    return all(isinstance(number, int) for number in numbers)
