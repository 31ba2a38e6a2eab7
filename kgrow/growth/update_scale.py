"""Scales of the updates of old and new entries after a growth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.types import Array
from kgrow.growth.freezing_masks import Masks

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


@dataclass(frozen=True)
class UpdateScale:
    """Factors by which a growth scales the updates of old and new entries.

    Args:
        start: int, the optimizer's iterations at the growth.
        new: float, factor of new entries at the growth.
        old: float, factor of old entries at the growth.
        steps: int, over which both factors go to 1 linearly; or `None` for
            factors that stay.
        known: `{path: Boolean mask}` of the entries that existed right after
            the growth. Entries of later growths are not scaled.
        olds: `{path: Boolean mask}` of the entries that existed before it.

    Example:

    >>> mask = np.array([True, False])
    >>> scale = UpdateScale(7, 0.0, 1.0, 4, {"w": mask | True}, {"w": mask})
    >>> scale.is_over(10), scale.is_over(11)
    (False, True)
    >>> [float(scale.factor(0.0, step)) for step in (7, 8, 9, 99)]
    [0.0, 0.25, 0.5, 1.0]
    """

    start: int
    new: float
    old: float
    steps: int | None
    known: Masks
    olds: Masks

    def is_over(self, step: int) -> bool:
        """Whether all factors are 1 from a step on."""
        return self.steps is not None and step >= self.start + self.steps

    def factor(self, first: float, step: int | Array) -> Array:
        """The factor at a step, if it was `first` at the growth.

        Args:
            first: float.
            step: int or integer tensor.
        """
        if self.steps is None:
            return ops.convert_to_tensor(first, "float32")
        since = ops.cast(step - self.start, "float32")
        factor = first + (1.0 - first) * (since / float(self.steps))
        # Steps before the start are counts of another optimizer.
        under_way = ops.logical_and(since >= 0.0, since < float(self.steps))
        return ops.where(under_way, factor, 1.0)

    def frozen_mask(self, path: str) -> np.ndarray | None:
        """Mask of the entries of a variable whose factor stays 0, or `None`."""
        if self.steps is not None or path not in self.known:
            return None
        known, old = self.masks(path)
        mask = np.zeros(known.shape, bool)
        if self.old == 0.0:
            mask = mask | (known & old)
        if self.new == 0.0:
            mask = mask | (known & ~old)
        return mask if mask.any() else None

    def moves(self) -> bool:
        """Whether any factor changes, or stays at a value other than 0 or 1."""
        return self.steps is not None or not {self.new, self.old} <= {0.0, 1.0}

    def masks(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the known and the old entries of a variable in `known`."""
        known = self.known[path]
        return known, self.olds.get(path, np.broadcast_to(False, known.shape))

    def mapped(self, carry: Callable[[Masks], Masks]) -> Self:
        """The same scales for a network that has grown meanwhile.

        Args:
            carry: function from masks by path to those of the grown network.
        """
        return replace(self, known=carry(self.known), olds=carry(self.olds))


def counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """The variable that counts an optimizer's steps; that of the inner one if
    it wraps a single optimizer, which then does the counting."""
    inner = [
        value
        for value in vars(optimizer).values()
        if isinstance(value, keras.optimizers.Optimizer)
    ]
    return counter(inner[0]) if len(inner) == 1 else optimizer._iterations


def steps_taken(model: GrowableModel) -> int:
    """int, the steps that the model's optimizer has counted."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    return int(backend.to_numpy(counter(optimizer)))
