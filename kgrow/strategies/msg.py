"""Masked Structural Growth: new units and blocks are masked at first."""

from __future__ import annotations

import dataclasses

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim, claims
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.gate import Gate
from kgrow.algebra.lazy_keras import keras
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import NewEntryInit
from kgrow.algebra.ramp import Ramp
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec
from kgrow.strategies.base import Strategy
from kgrow.strategies.depth_maps import StackingList
from kgrow.strategies.fixed_dims import is_placed
from kgrow.strategies.registry import StrategyLike, get, register
from kgrow.strategies.task import Task

_INITIALIZERS = ("normal", "layer")


@register("msg")
class MSG(Strategy):
    """Masked Structural Growth: new weights of any value, masked by gates.

    Old weights stay where they are. New units, heads and blocks may have any
    weights: gates multiply their outputs by zero at first, so that the function
    is kept up to rounding, for every size of every dimension, before and after
    norms. The gates open within `ramp` batches of training and are then
    removed, which leaves a plain network. The next growth may come while
    earlier gates are still opening.

    The network needs gates, see `kgrow.layers.Gates`; those of `kgrow.models`
    have them.

    Args:
        ramp: `Ramp`, or int, the number of batches until gates are open. With
            0 there are no gates and the function is not kept: the paper's
            ablation "No Mask".
        initializer: the initial values of new weights. `"normal"`: N(0, 0.02)
            for matrices, as in the paper, and the layers' own for gains and
            biases; `"layer"`: the layers' own for all; or a strategy, whose
            grown network has the values.
        depth: a strategy for depth or a stacking list, which says where new
            blocks are and which ones they copy. The first copy of a block is
            the old one and has no gate.

    Raises:
        GrowthError: `depth` leaves out an old block or changes their order.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.GPT2(vocabulary_size=32, num_layers=1,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
    ...     max_sequence_length=8)
    >>> receipt = model.grow({"hidden_dim": 11, "intermediate_dim": 17,
    ...     "num_heads": 3, "num_layers": 3}, MSG(ramp=100))
    >>> receipt.exact, len(model.active_gates)
    (True, 1)

    Reference:

    - Yao et al., "Masked Structural Growth for 2x Faster Language Model
      Pre-training" (2305.02869), Sec. 3.1 and 3.2.2. Where the public code
      differs from the paper, this follows the paper: values of new heads are
      masked, queries and keys are not, and the mask follows the activation.
      Deviates: second moments of new entries start from the mean of the old
      ones, as in all growths here. With zeros, as in the public code, the
      first updates of new entries are three times as large.
    """

    grows = frozenset({"width", "depth"})

    standalone = True
    new_entries = NewEntryInit("initializer", "initializer")

    def __init__(
        self,
        ramp: Ramp | int = 5000,
        initializer: StrategyLike = "normal",
        depth: StrategyLike = "stack",
    ) -> None:
        self.ramp = Ramp.get(ramp)
        if isinstance(initializer, str) and initializer in _INITIALIZERS:
            self.initializer = initializer
        else:
            self.initializer = get(initializer)
        self.depth = get(depth)
        self.needs_data = getattr(self.initializer, "needs_data", False)

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del dim, rng
        return Expansion.pad(source, target)

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        if not source:
            empty = StackingList([None] * target, zero_exits=False)
            return empty.expand_depth(stack, source, target, rng)
        return self.depth.expand_depth(stack, source, target, rng)

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        plan = super().plan(source, self._initialized(target), seed)
        gate = self._gate(plan)
        if self.ramp.steps == 0 or not (gate.units or gate.blocks):
            return plan
        # No gradient flows through a closed gate, so gated copies of a block
        # get no share of its moments.
        first = {
            stack: mixing.first_only() if stack in gate.blocks else mixing
            for stack, mixing in plan.terms[0].depths.items()
        }
        effect = dataclasses.replace(plan.terms[0], depths=first)
        return dataclasses.replace(plan, gate=gate, effect=(effect,))

    def fit(self, plan: Plan, task: Task) -> Plan:
        if isinstance(self.initializer, str):
            return plan
        entries = self.initializer.plan(plan.source, plan.target, plan.seed)
        entries = self.initializer.fit(entries, task)
        return dataclasses.replace(plan, given=task.grown(entries))

    def claims(self, plan: Plan) -> list[Claim]:
        if plan.gate is None:
            return claims(plan)
        gated = {*plan.gate.units, *plan.gate.blocks}
        return [
            Claim(claim.dim, True, "exact: what is new is behind a gate")
            if claim.dim in gated
            else claim
            for claim in claims(plan)
        ]

    def _initialized(self, target):
        """The spec with the initializers of new weights."""
        if self.initializer != "normal":
            return target
        variables = {
            path: dataclasses.replace(
                v, initializer=keras.initializers.RandomNormal(stddev=0.02)
            )
            if len(v.axes) > 1 and len(v.axes.dims) > 1
            else v
            for path, v in target.variables.items()
        }
        return dataclasses.replace(target, variables=variables)

    def _gate(self, plan):
        source, target = plan.source, plan.target
        units, blocks = {}, {}
        for name in plan.grown:
            if name in target.stacks:
                blocks[name] = _new_blocks(plan, name)
                continue
            dim = target.dims[name]
            # Dimensions with fixed positions keep the function without a gate;
            # one that only blocks use has no old size without blocks.
            if not is_placed(dim) and name in source.sizes:
                units[name] = source.sizes[name], target.sizes[name]
        return Gate(self.ramp, units, blocks)

    def __repr__(self) -> str:
        arguments = [f"ramp={self.ramp.steps}"]
        if self.ramp.shape != "linear":
            arguments = [f"ramp={self.ramp!r}"]
        if self.initializer != "normal":
            arguments.append(f"initializer={self.initializer!r}")
        if self.depth != get("stack"):
            arguments.append(f"depth={self.depth!r}")
        return f"MSG({', '.join(arguments)})"


def _new_blocks(plan, stack):
    """Numbers of the new blocks: all but the first copy of each old one."""
    mixing = plan.terms[0].depths[stack]
    new, seen = [], []
    for block in range(mixing.target):
        reads = mixing.reads(block)
        if len(reads) == 1 and reads[0][0] not in seen:
            seen.append(reads[0][0])
        else:
            new.append(block)
    if seen != list(range(mixing.source)):
        raise GrowthError(
            "A gate can only skip new blocks if all old ones are there, in "
            "their order. Choose another `depth`, such as 'stack' or "
            f"'interpolate'. Received: first copies in the order {seen}, of "
            f"{mixing.source} blocks"
        )
    return tuple(new)
