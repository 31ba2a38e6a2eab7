"""The units and blocks that one growth adds closed, and how they open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.linear_maps import GatherMap
from kgrow.algebra.ramp import Ramp

if TYPE_CHECKING:
    from kgrow.algebra.plan import Plan


@dataclass(frozen=True)
class Gate:
    """The gate of one growth: what is new, and the ramp that lets it in.

    Args:
        ramp: `Ramp`.
        units: dict from names of dimensions to `(start, stop)`, the units
            that are new.
        blocks: dict from names of stacks to the numbers of the blocks that
            are.

    Example:

    >>> Gate(Ramp(100), {"ffn": (16, 24)}).size("ffn")
    24
    """

    ramp: Ramp
    units: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    blocks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self):
        units = {dim: tuple(span) for dim, span in self.units.items()}
        for dim, (start, stop) in units.items():
            if not 0 < start < stop:
                raise GrowthError(
                    "A gate opens the units from `start` on, after at least "
                    "one that is there, up to `stop`. Received: "
                    f"{dim}={units[dim]}"
                )
        blocks = {stack: tuple(b) for stack, b in self.blocks.items()}
        object.__setattr__(self, "units", units)
        object.__setattr__(self, "blocks", blocks)

    def size(self, dim: str) -> int | None:
        """The size of a dimension at the growth, or `None`."""
        return self.units[dim][1] if dim in self.units else None

    def moved(self, plan: Plan, gate: Gate | None) -> Gate:
        """This gate in a network that a later growth has made larger, or a
        way back smaller.

        Args:
            plan: `Plan` of that growth.
            gate: `Gate` of that growth, or `None`.

        Raises:
            GrowthError: the growth moves the units behind this
                gate, or copies them without a gate.
        """
        gated = () if gate is None else (*gate.units, *gate.blocks)
        left = self._left_by(plan)
        for name in plan.grown:
            if name in gated or name not in (*left.units, *left.blocks):
                continue
            if _keeps_first(plan, name):
                continue
            raise GrowthError(
                f"A gate along {name!r} is still opening, and this strategy "
                "would copy units behind it. Wait until the ramp ends, "
                "call `force_open_gates()` before, or grow it with 'msg', of "
                f"which several can be under way. Received: {name!r} to grow, "
                f"{self.ramp!r} under way"
            )
        blocks = {}
        for stack, numbers in left.blocks.items():
            new = () if gate is None else gate.blocks.get(stack, ())
            depth = plan.target.depths[stack]
            places = [b for b in range(depth) if b not in new]
            blocks[stack] = tuple(places[b] for b in numbers)
        return Gate(self.ramp, left.units, blocks)

    def _left_by(self, plan):
        """The gate without the units and blocks that a plan does not read."""
        units = {
            dim: span
            for dim, span in self.units.items()
            if _reads(plan, dim, range(*span))
        }
        blocks = {
            stack: numbers
            for stack, numbers in self.blocks.items()
            if _reads(plan, stack, numbers)
        }
        return Gate(self.ramp, units, blocks)

    @property
    def is_empty(self) -> bool:
        """Whether no units and no blocks are new."""
        return not (self.units or self.blocks)

    def get_config(self) -> dict[str, Any]:
        return {
            "ramp": self.ramp.get_config(),
            "units": {dim: list(span) for dim, span in self.units.items()},
            "blocks": {stack: list(b) for stack, b in self.blocks.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "ramp": Ramp.get(config["ramp"])})


def _reads(plan, name, entries):
    """Whether any of some units or blocks go into a plan's target."""
    maps = plan.maps_along(name)
    return not maps or any(m.reads(entries) for m in maps)


def _keeps_first(plan, name):
    """Whether a way back keeps the first units or blocks as they are."""
    return all(
        isinstance(m, GatherMap)
        and m.target < m.source
        and m.weights is None
        and np.array_equal(m.indices, np.arange(m.target))
        for m in plan.maps_along(name)
    )
