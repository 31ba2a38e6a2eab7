"""How fast some entries learn beside others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True)
class UpdateScale:
    """Factors of the updates of old and new entries, from a growth on.

    Args:
        start: int, the optimizer's iterations at the growth.
        new: float, factor where entries are new.
        old: float, factor where they are old.
        steps: int, after which both are 1 again, on a straight line from the
            growth on; or `None`, for good.
        known: `{path: Boolean mask}` of the entries that there were right
            after the growth. Those that come later go at their own pace.
        olds: `{path: Boolean mask}` of those that were there before it.

    Example:

    >>> mask = np.array([True, False])
    >>> pace = UpdateScale(7, 0.0, 1.0, 4, {"w": mask | True}, {"w": mask})
    >>> pace.is_over(10), pace.is_over(11)
    (False, True)
    >>> [float(pace.factor(0.0, step)) for step in (7, 8, 9, 99)]
    [0.0, 0.25, 0.5, 1.0]
    """

    start: int
    new: float
    old: float
    steps: int | None
    known: Mapping
    olds: Mapping

    def is_over(self, step):
        """Whether all factors are 1 from a step on."""
        return self.steps is not None and step >= self.start + self.steps

    def factor(self, first, step):
        """A factor as it is at a step, that was `first` at the growth.

        Args:
            first: float.
            step: int or integer tensor.
        """
        if self.steps is None:
            return ops.convert_to_tensor(first, "float32")
        since = ops.cast(step - self.start, "float32")
        factor = first + (1.0 - first) * (since / float(self.steps))
        # Before the start, it is another optimizer that counts.
        under_way = ops.logical_and(since >= 0.0, since < float(self.steps))
        return ops.where(under_way, factor, 1.0)

    def rests(self, path):
        """Mask of the entries of a variable that the pace lets rest for good,
        or `None`."""
        if self.steps is not None or path not in self.known:
            return None
        known, old = self.masks(path)
        mask = np.zeros(known.shape, bool)
        if self.old == 0.0:
            mask = mask | (known & old)
        if self.new == 0.0:
            mask = mask | (known & ~old)
        return mask if mask.any() else None

    def moves(self):
        """Whether any factor is neither 0 nor 1 for good."""
        return self.steps is not None or not {self.new, self.old} <= {0.0, 1.0}

    def masks(self, path):
        """The masks of known and of old entries of a known variable."""
        known = self.known[path]
        return known, self.olds.get(path, np.broadcast_to(False, known.shape))

    def mapped(self, carry):
        """The same pace of a network that grew meanwhile.

        Args:
            carry: function from masks by path to those of the grown network.
        """
        return replace(self, known=carry(self.known), olds=carry(self.olds))


def counter(optimizer):
    """The variable that counts an optimizer's steps. One that wraps a single
    other leaves the counting to it."""
    inner = [
        value
        for value in vars(optimizer).values()
        if isinstance(value, keras.optimizers.Optimizer)
    ]
    return counter(inner[0]) if len(inner) == 1 else optimizer._iterations


def steps_taken(model):
    """How many steps the model's optimizer has counted, as an int."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    return int(ops.convert_to_numpy(counter(optimizer)))
