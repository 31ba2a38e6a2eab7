"""Knowledge inheritance: a new network, with the small one as teacher."""

from __future__ import annotations

from typing import Any

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.plan import Plan
from kgrow.algebra.scalar_checks import check_count, check_number
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.base import Strategy, is_larger
from kgrow.strategies.registry import register


@register("ki")
class KnowledgeInheritance(Strategy):
    """A new large network that is distilled from the small one at first.

    No weight is copied: all have the layers' own initial values. For `steps`
    training steps the loss is `(1 - a) loss + a T^2 KL(small || large)`, and
    `a` falls linearly from `weight` to zero. Papers on growth use it as a
    baseline. The outputs must be logits, of one size before and after. The
    small network runs in each of these steps, and stays in memory and in saved
    files until `model.remove_teacher()`.

    Args:
        weight: float in `[0, 1]`, the initial share of the teacher's loss.
        steps: int, training steps until that share is zero.
        temperature: float, applied to both distributions.

    Example:

    >>> KnowledgeInheritance(steps=1000).weight
    0.5

    Reference:

    - Qin et al., "Knowledge Inheritance for Pre-trained Language Models"
      (2105.13880), Sec. 3.1-3.2, with the linear decay of Eq. 3.
    """

    grows = frozenset({"width", "depth"})

    standalone = True

    def __init__(
        self, weight: float = 0.5, steps: int = 1000, temperature: float = 1.0
    ) -> None:
        self.weight = check_number("weight", weight, 0)
        if self.weight > 1:
            raise GrowthError(
                f"`weight` is a number in [0, 1]. Received: weight={weight!r}"
            )
        self.steps = check_count("steps", steps)
        # The bound that files are checked against; zero would divide by zero.
        self.temperature = check_number("temperature", temperature, 1e-6)

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        for name, dim in target.dims.items():
            if is_larger(
                dim.field, source.sizes.get(name, 0), target.sizes[name]
            ):
                if name in target.output_dims:
                    raise GrowthError(
                        "'ki' compares the outputs of both networks, and "
                        f"`{dim.field}` changes their size: "
                        f"{source.sizes[name]} -> {target.sizes[name]}. Grow "
                        "it by another strategy first."
                    )
        for name, stack in target.stacks.items():
            is_larger(stack.field, source.depths[name], target.depths[name])
        return Plan(source, target, (), seed=seed)

    def claims(self, plan: Plan) -> list[Claim]:
        reason = "all weights are initialized anew"
        return [Claim(name, False, reason) for name in plan.grown]

    def teacher_config(self) -> dict[str, Any] | None:
        return self.get_config()
