"""Growths that claim to keep the function, tried out on a small network."""

import dataclasses

import numpy as np

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.config_fields import base, read
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import Architecture
from kgrow.architecture.inference.fill_weights import fill
from kgrow.architecture.output_check import aligned, run
from kgrow.strategies.lemon import LEMON
from kgrow.strategies.net2net import Net2Net

_DOUBLE, _UNEVEN = 2.0, 4 / 3


class Trial:
    """Growths in width of one network, and what its outputs say of them.

    A permutation does not tell a value from its dual. Copies do: what reads
    them takes shares. And what mixes entries tells a linear stream from one
    with a nonlinearity along it.

    Args:
        axes: `AxisMap`.
        network: a built `keras.Model`, with values.
        values: `{path: numpy array}`, these.
        probe: inputs.
        allowed: float, the relative difference that rounding explains.
    """

    def __init__(self, axes, network, values, probe, allowed):
        self.axes = axes
        self.architecture = Architecture(axes, network)
        self.values = values
        self.probe = probe
        self.allowed = allowed
        self.before = run(network, probe)

    def run(self):
        """Doubles with copies, then grows unevenly with mixtures.

        Returns:
            `AxisMap`. A dimension that bears copies and no mixtures is one
            that a nonlinearity is taken along.

        Raises:
            GrowthError: copies do not keep the function.
        """
        wrong = self._wrong(Net2Net(), _DOUBLE)
        if not wrong:
            wrong = self._wrong(LEMON(), _UNEVEN)
            streams = {n for n in wrong if self.axes.dims[n].kind == "stream"}
            if not wrong:
                return self.axes
            if streams:
                return _copied(self.axes, streams)
        doubt = {
            path: str(rule)
            for path, rule in self.axes.rules.items()
            if wrong & set(rule.dims)
        }
        raise GrowthError(
            "The dimensions that were read off the network do not hold: grown "
            f"along {sorted(wrong)} it computes something else, where it "
            "should not. Pass `axes=kgrow.AxisMap(...)`. In doubt: "
            f"{doubt}"
        )

    def _wrong(self, strategy, times):
        """Names of the dimensions along which a growth that claims to keep
        the function does not."""
        target = self._target(times)
        kept = not target or self._keeps(target, strategy)
        if kept:
            return set()
        fields = set()
        for field in target:
            for others in ((), *((other,) for other in target)):
                some = {n: target[n] for n in (field, *others)}
                if self._built(some) is None:
                    continue
                alone = self._keeps(some, strategy)
                if alone is False:
                    fields |= set(some)
                if alone is not None:
                    break
        if kept is False:
            fields = fields or set(target)
        return {
            name
            for name, dim in self.axes.dims.items()
            if dim.kind in ("stream", "nonlinear") and base(dim.field) in fields
        }

    def _target(self, times):
        """As many fields as can be larger at the same time."""
        config = self.architecture.config
        sizes = {
            base(dim.field): _times(config[base(dim.field)], times)
            for dim in self.axes.dims.values()
            if dim.kind in ("stream", "nonlinear") and base(dim.field) in config
        }
        for dim in self.axes.dims.values():
            if dim.top_k:
                sizes[dim.top_k] = _times(config[dim.top_k], times)
        if self._built(sizes) is not None:
            return sizes
        target = {}
        for field in sizes:
            for others in ((), *((other,) for other in sizes)):
                more = {**target, **{n: sizes[n] for n in (field, *others)}}
                if self._built(more) is not None:
                    target = more
                    break
        return target

    def _built(self, target):
        """`(network, spec)`, or `None` if there is no network of these
        sizes."""
        source = self.architecture.spec
        try:
            network, spec = self.architecture.build(
                self.architecture.check(target)
            )
        except GrowthError:
            return None
        for name, dim in self.axes.dims.items():
            said = read(source.config, dim.field)
            if said is not None and said == source.sizes.get(name):
                # More heads of a smaller size leave the shapes as they are.
                if spec.sizes.get(name) != read(spec.config, dim.field):
                    return None
        return network, spec

    def _keeps(self, target, strategy):
        """Whether the outputs are what the claims say; `None` if these sizes
        do not run together, which growing to them would say."""
        found = self._plan(target, strategy)
        if found is None:
            return True
        network, plan, inexact = found
        if inexact:
            rest = {n: v for n, v in target.items() if n not in inexact}
            if len(rest) == len(target) or not rest:
                return True
            return self._built(rest) is None or self._keeps(rest, strategy)
        fill(network, plan.apply(self.values))
        try:
            after = run(network, self.probe)
        except GrowthError:
            return None
        return all(
            relative(*aligned(old, new, plan, place)) <= self.allowed
            for place, (old, new) in enumerate(
                zip(self.before, after, strict=True)
            )
        )

    def _plan(self, target, strategy):
        """`(network, plan, fields that it claims nothing of)`."""
        network, spec = self._built(target)
        try:
            plan = strategy.plan(self.architecture.spec, spec, 0)
        except GrowthError:
            return None
        dims = [
            spec.dims[claim.dim]
            for claim in strategy.claims(plan)
            if not claim.exact
        ]
        inexact = {base(dim.field) for dim in dims}
        inexact |= {dim.top_k for dim in dims}
        return network, plan, inexact


def relative(old, new):
    """The largest difference of two outputs, relative to the largest entry."""
    largest = np.abs(old).max(initial=0.0)
    worst = np.abs(np.asarray(new, "float64") - old).max(initial=0.0)
    return worst / max(largest, np.finfo("float32").tiny)


def _times(value, factor):
    if isinstance(value, (list, tuple)):
        return [_times(v, factor) for v in value]
    return round(value * factor)


def _copied(axes, names):
    """The map with dimensions along which entries are copied, not mixed."""
    dims = [
        dataclasses.replace(dim, kind="nonlinear") if name in names else dim
        for name, dim in axes.dims.items()
    ]
    return AxisMap(
        axes.rules, dims, list(axes.stacks.values()), axes.outputs, axes.notes
    )
