"""Maps that make several variables at once."""

from __future__ import annotations

import abc
from collections.abc import Callable, Set

from kgrow.algebra.types import Array, Values


class JointMap(abc.ABC):
    """A map from several variables to several others, as a plan holds it.

    A plan's terms grow each variable by a map per axis. An operator that
    mixes variables with one another, as a tensor over a whole stack does, is
    no such sum; the terms of its plan then say how gradients are mapped.
    """

    @property
    @abc.abstractmethod
    def paths(self) -> Set[str]:
        """Paths of the variables that it makes."""

    @abc.abstractmethod
    def sources(self, path: str) -> list[str]:
        """Paths that one of these is made of, its namesake first."""

    @abc.abstractmethod
    def grow(
        self, values: Values, lay_out: Callable[[Array], Array] | None = None
    ) -> dict[str, Array]:
        """Grows all of its variables.

        Args:
            values: dict with at least the `sources()` of all paths.
            lay_out: function that divides a large intermediate tensor among
                devices, where arrays are in pieces; `None` where none are.

        Returns:
            dict from `paths` to arrays of the kind of `values`, before
            `dim^power` flags are seen to.
        """
