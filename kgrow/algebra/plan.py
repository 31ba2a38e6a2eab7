"""A plan: everything that one growth does to the weights, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from kgrow.algebra.arrays import WHOLE, Arrays
from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.gate import Gate
from kgrow.algebra.joint_map import JointMap
from kgrow.algebra.linear_maps import GatherMap, MatrixMap
from kgrow.algebra.new_entries import (
    add_noise,
    fill_unwritten,
    new_variable,
    unwritten,
)
from kgrow.algebra.plan_term import (
    NewEntryInit,
    PlanTerm,
    blocks,
    compose_terms,
    factor_shape,
    inverse_term,
    joint_maps,
    segments,
)
from kgrow.algebra.spec import ModelSpec, VariableSpec
from kgrow.algebra.types import Array, Values


@dataclass(frozen=True, eq=False)
class Plan:
    """Maps the variables of a network to those of a larger one.

    A grown variable is the sum over `terms` of the old one with each axis
    contracted with the matching map, mixed over the blocks of its stack.
    Entries that no term writes are filled by `new_entries`.

    Args:
        source: `ModelSpec` before.
        target: `ModelSpec` after.
        terms: tuple of `PlanTerm`s.
        new_entries: dict from dim names to `NewEntryInit`.
        noise: dict from dim names to a relative standard deviation. Weights
            that read the dimension get Gaussian noise of that size, projected
            onto what copies of a value cannot see, so that the function is
            kept while the copies part.
        seed: int, for fresh entries and noise.
        degree: 1 for values, -1 for their gradients, -2 for squares of those:
            the power of the size ratios in the axes' `dim^power` flags.
        effect: tuple of `PlanTerm`s that grow activations as `terms` do, by
            which
            gradients are mapped; `terms` by default. A network made of two
            copies side by side, for one, is a sum of two terms in its
            weights, and a single one in its activations.
        given: dict from paths to arrays, which entries are taken from that
            would otherwise be drawn from the layers' initializers.
        joint: tuple of `JointMap`s. They make the values of their variables;
            the terms map the gradients.
        gate: `Gate`, the gate that the grown network keeps what is new
            behind, or `None`.

    Example:

    >>> import numpy as np
    >>> from kgrow.algebra.axis_map import AxisMap
    >>> from kgrow.algebra.plan_term import PlanTerm
    >>> axes = AxisMap({"in": "_ -> units", "out": "units -> _"})
    >>> source = axes.spec([("in", (3, 2)), ("out", (2, 1))], {})
    >>> target = axes.spec([("in", (3, 4)), ("out", (4, 1))], {})
    >>> term = PlanTerm({"units": Expansion.tile(2, 2)})
    >>> plan = Plan(source, target, (term,))
    >>> grown = plan.apply({"in": np.ones((3, 2)), "out": np.ones((2, 1))})
    >>> grown["out"].ravel().tolist()
    [0.5, 0.5, 0.5, 0.5]
    """

    source: ModelSpec
    target: ModelSpec
    terms: tuple[PlanTerm, ...]
    new_entries: Mapping[str, NewEntryInit] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    degree: int = 1
    effect: tuple[PlanTerm, ...] | None = None
    given: Mapping[str, np.ndarray] = field(default_factory=dict)
    joint: tuple[JointMap, ...] = ()
    gate: Gate | None = None

    def apply(self, values: Values) -> dict[str, Array]:
        """Grows all variables: `{path: array} -> {path: array}`.

        Args:
            values: dict from the paths of the source to arrays, numpy's or the
                backend's.

        Returns:
            dict from the paths of the target to new arrays of the same kind.

        Raises:
            GrowthError: a variable is missing or has another shape.
        """
        check_values(self.source, values)
        return dict(self.each(values))

    def each(self, values: Values) -> Iterator[tuple[str, Array]]:
        """Grows one variable after the other, and those of a joint map when
        its first is due.

        Yields:
            `(path, array)`, in the order of the target.
        """
        made: dict[str, Array] = {}
        for path, variable in self.target.variables.items():
            joint = self.joint_map_of(path)
            if joint is None:
                yield path, self.grow(path, values)
                continue
            if path not in made:
                made.update(joint.grow(values))
            yield path, self.rescale(made.pop(path), variable)

    def grow(
        self,
        path: str,
        values: Values,
        fill: Array | None = None,
        arrays: Arrays = WHOLE,
    ) -> Array:
        """Grows one variable of the target.

        Args:
            path: path in the target.
            values: dict with at least the source's `reads(path)`.
            fill: what to put into entries that no term writes: an array of
                the target's shape, a number, or `None` for this plan's
                `new_entries` values.
            arrays: `Arrays`, where the values are.
        """
        variable = self.target.variables[path]
        joint = self.joint_map_of(path)
        if joint is not None:
            return self.rescale(joint.grow(values)[path], variable, arrays)
        reads = [self._read(t, variable, values, arrays) for t in self.terms]
        reads = [r for r in reads if r is not None]
        if not reads:
            like = list(values.values())
            return new_variable(self, variable, like, arrays, fill)
        total = reads[0]
        for other in reads[1:]:
            total = total + other
        total = self.rescale(total, variable, arrays)
        if self.degree == 1:
            total = add_noise(self, total, variable, arrays)
        return fill_unwritten(self, total, variable, arrays, fill)

    def joint_map_of(self, path: str) -> JointMap | None:
        """The joint map that makes a variable, or `None` for one that the
        terms make, as most are."""
        found = [joint for joint in self.joint if path in joint.paths]
        return found[0] if found else None

    def reads(self, path: str) -> list[str]:
        """Paths in the source that a variable of the target is made of."""
        joint = self.joint_map_of(path)
        if joint is not None:
            return joint.sources(path)
        variable = self.target.variables[path]
        paths = {}
        for term in self.terms:
            for old, _ in blocks(term, variable):
                paths[old] = None
        return list(paths)

    def maps_along(self, name: str) -> list[GatherMap | MatrixMap]:
        """The maps of a dimension or of a stack's blocks, in all terms."""
        maps: list[GatherMap | MatrixMap] = []
        for term in self.terms:
            if name in term.depths:
                maps.append(term.depths[name].rows)
            widths = term.widths.get(name, ())
            for e in widths if isinstance(widths, tuple) else (widths,):
                maps += [e.produce, e.consume]
        return maps

    def dual(self, degree: int = 1) -> Plan:
        """The plan that maps gradients, or their `degree`-th power.

        What was copied receives its share of the gradient, what was split the
        full one; blocks and entries without a history start fresh. `degree` 0
        forgets the weights: for slots that hold updates, not gradients.
        """
        return dataclasses.replace(
            self,
            terms=tuple(
                t.map(
                    lambda e: e.dual().power(degree),
                    lambda m: m.dual().power(degree),
                )
                for t in self.effect or self.terms
            ),
            effect=None,
            noise={},
            given={},
            joint=(),
            degree=-degree,
        )

    def inverse(self) -> Plan:
        """The plan back, from the larger network to the small one.

        Applied to grown variables it returns the old ones up to rounding, in
        spite of noise and new entries; applied after training, it keeps of
        them what the small network can hold. New units and blocks are
        dropped, copies are read as the network reads them, and what the
        growth did not keep is solved by least squares. Its `dual()` takes the
        optimizer's moments back in the same way.

        Raises:
            GrowthError: the plan has a joint map, or does not keep every old
                entry and block.

        Example:

        >>> import numpy as np
        >>> from kgrow.algebra.axis_map import AxisMap
        >>> from kgrow.algebra.plan_term import PlanTerm
        >>> axes = AxisMap({"in": "_ -> units", "out": "units -> _"})
        >>> source = axes.spec([("in", (3, 2)), ("out", (2, 1))], {})
        >>> target = axes.spec([("in", (3, 4)), ("out", (4, 1))], {})
        >>> plan = Plan(source, target,
        ...     (PlanTerm({"units": Expansion.tile(2, 2)}),))
        >>> old = {"in": np.ones((3, 2)), "out": np.array([[5.0], [7.0]])}
        >>> plan.inverse().apply(plan.apply(old))["out"].ravel().tolist()
        [5.0, 7.0]
        """
        if self.joint:
            raise GrowthError(
                "There is no way back from a joint map, which makes several "
                "variables of several others at once. Received: "
                f"{len(self.joint)} joint maps"
            )
        term = inverse_term(self._main_term(), self.target)
        return Plan(
            self.target,
            self.source,
            (term,),
            seed=self.seed,
            degree=self.degree,
        )

    def _main_term(self):
        """The term whose way back is that of the plan: the effect of a sum
        whose terms read the same blocks; otherwise the first, which holds the
        old network."""
        if not self.terms:
            raise GrowthError(
                "There is no way back to a network that the grown one has "
                "nothing of. Received: a plan without terms"
            )
        first, *others = self.terms
        alike = all(term.depths == first.depths for term in others)
        if alike and others and self.effect:
            return self.effect[0]
        return first

    def first_only(self) -> Plan:
        """Writes only the first copy of every entry and of every block."""
        return dataclasses.replace(
            self,
            terms=tuple(
                t.map(Expansion.first_only, DepthExpansion.first_only)
                for t in self.terms
            ),
            joint=(),
        )

    def keeps(self, path: str) -> bool:
        """Whether the plan leaves a variable exactly as it was."""
        if self.joint_map_of(path) is not None:
            return False
        variable = self.target.variables[path]
        return all(
            blocks(term, variable) == [(path, 1.0)]
            and all(
                m is None or m.is_identity
                for _, m in joint_maps(term, variable)
            )
            for term in self.terms
        ) and all(
            self.source.sizes[d] == self.target.sizes[d]
            for d, _ in variable.axes.powers
        )

    def __matmul__(self, before):
        """`self` after `before`, as one plan.

        Raises:
            GrowthError: the plans do not meet, one of them adds noise, or
                `before` leaves entries to fresh values: only each by itself
                can draw those.
        """
        if self.source.variables != before.target.variables:
            raise GrowthError(
                "A plan can only follow one that ends where it starts. "
                f"Received: sizes {before.target.sizes}, then "
                f"{self.source.sizes}"
            )
        if self.joint or before.joint:
            raise GrowthError(
                "A joint map does not compose with the terms of another plan. "
                "Apply the two one after the other."
            )
        noisy = any((*before.noise.values(), *self.noise.values()))
        if noisy or not before.is_complete:
            raise GrowthError(
                "Plans compose into one where neither adds noise and the "
                "first writes every entry. Apply the two one after the other."
            )
        terms = tuple(
            compose_terms(outer, inner, self)
            for outer in self.terms
            for inner in before.terms
        )
        return dataclasses.replace(self, source=before.source, terms=terms)

    @property
    def grown(self) -> list[str]:
        """Names of the dimensions and stacks that grow."""
        old = {**self.source.sizes, **self.source.depths}
        new = {**self.target.sizes, **self.target.depths}
        return [name for name, size in new.items() if old.get(name) != size]

    @property
    def is_complete(self) -> bool:
        """Whether every entry is written by some term."""
        probe = dataclasses.replace(self, new_entries={})
        return all(
            not unwritten(probe, v) and probe.reads(v.path)
            for v in self.target.variables.values()
        )

    def rescale(
        self, value: Array, variable: VariableSpec, arrays: Arrays = WHOLE
    ) -> Array:
        """A grown variable with the `dim^power` flags of its axes seen to."""
        factor = 1.0
        for dim, power in variable.axes.powers:
            ratio = self.target.sizes[dim] / self.source.sizes[dim]
            factor *= ratio ** (power * self.degree)
        return arrays.scaled(value, factor)

    def _read(self, term, variable, values, arrays):
        """What a term makes of a variable: blocks are mixed first, while they
        are small, and then expanded once."""
        reads = blocks(term, variable)
        share = term.share_of(variable)
        if not reads or share == 0:
            return None
        if variable.axes.residual_out and variable.stack in term.depths:
            exits = term.depths[variable.stack].exits
            share = share * float(exits[variable.block])
        total = None
        for path, weight in reads:
            value = arrays.scaled(values[path], weight)
            total = value if total is None else total + value
        old = self.source.variables[reads[0][0]]
        sizes = factor_shape(old, self.source.sizes)
        value = arrays.contract(total, segments(term, variable, sizes))
        return arrays.scaled(value, share)


def check_values(spec: ModelSpec, values: Values) -> None:
    """Raises unless `values` has every variable of `spec` in its shape."""
    for path, variable in spec.variables.items():
        shape = tuple(values[path].shape) if path in values else None
        if shape != variable.shape:
            raise GrowthError(
                f"The plan starts from {path!r} of shape {variable.shape}. "
                "Received: "
                + ("no such variable" if shape is None else f"shape {shape}")
            )
