"""How a run comes to its final size: recipes by name.

A recipe is a function of the rung and the number of training steps, with
options. It gives a `Recipe`: stages within one run, or a small model that is
trained by itself first, whose cost is counted.

Sizes and the parts of a run that stages take are the papers', as far as four
blocks allow. All methods train at one rate that decays to zero at the run's
end; by default it and the optimizer's state are carried through a growth, also
where the paper starts them anew (`optimizer_state="reset"`).
"""

from dataclasses import dataclass

import kgrow
from kgrow.schedules import GrowthSchedule, Stage
from kgrow.strategies import MSG, Combine, LiGO, Mango
from laboratory.rates import AT_GROWTH

RECIPES = {}

# Steps in which LiGO and Mango fit their operator.
_FITTING = 100


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how it grows.

    Args:
        schedule: `GrowthSchedule`, whose first stage has the sizes at the
            start.
        trains_small_apart: Boolean. Whether the first stage is a run of its
            own, with a rate that decays to its end and an optimizer that is
            not carried on.
    """

    schedule: GrowthSchedule
    trains_small_apart: bool = False

    @property
    def start(self):
        """The sizes of the first model."""
        return self.schedule.sizes[0]


def recipe(name):
    """Decorator: makes a recipe known by a name."""

    def add(function):
        RECIPES[name] = function
        return function

    return add


def make(spec, rung, steps):
    """The `Recipe` of a run.

    Raises:
        ValueError: there is none of this name.
    """
    if spec.recipe not in RECIPES:
        raise ValueError(
            f"A recipe is one of {', '.join(sorted(RECIPES))}. "
            f"Received: recipe={spec.recipe!r}"
        )
    return RECIPES[spec.recipe](rung, steps, **spec.options)


def _stages(rung, steps, parts, strategy, optimizer_state, rates):
    """Stages that end at parts of the run.

    Args:
        parts: List of `(end, sizes)`, `end` in (0, 1].
        strategy: A strategy or its name, of every growth.
        optimizer_state: As in `Stage`.
        rates: String, a key of `AT_GROWTH`.
    """
    stages = []
    for number, (end, sizes) in enumerate(parts):
        until = steps if end == 1 else max(number + 1, round(end * steps))
        if number == 0:
            stages.append(Stage(until, {**rung.sizes, **sizes}))
            continue
        stages.append(
            Stage(
                until,
                sizes,
                strategy,
                learning_rate=AT_GROWTH[rates](steps),
                optimizer_state=optimizer_state,
            )
        )
    return GrowthSchedule(stages)


@recipe("scratch")
def scratch(rung, steps):
    """The final model from its first step; the reference."""
    return Recipe(GrowthSchedule([Stage(steps, rung.sizes)]))


@recipe("one-jump")
def one_jump(
    rung,
    steps,
    layers=1,
    at=0.6,
    strategy="stack",
    optimizer_state="carry",
    rates="carry",
):
    """A shallow model that becomes deep at once.

    Source: Bu (2511.04981), from zero blocks or one. None to copy means that
    new blocks are drawn as at the start (`strategy="random"`).
    """
    parts = [(at, {"num_layers": layers}), (1, {"num_layers": rung.layers})]
    return Recipe(_stages(rung, steps, parts, strategy, optimizer_state, rates))


@recipe("stackbert")
def stackbert(rung, steps, optimizer_state="carry", rates="carry"):
    """A quarter of the blocks, half, all, in 30, 40 and 30 % of the steps.

    Source: Gong et al. (2019), with the stages as tuned in CompoundGrow
    (2010.12562), Sec. 4.
    """
    layers = rung.layers
    parts = [
        (0.3, {"num_layers": layers // 4}),
        (0.7, {"num_layers": layers // 2}),
        (1, {"num_layers": layers}),
    ]
    return Recipe(_stages(rung, steps, parts, "stack", optimizer_state, rates))


@recipe("midas")
def midas(rung, steps, power=1, optimizer_state="carry", rates="carry"):
    """A block more at a time, in the middle; stage i lasts as i to a power.

    Source: Saunshi et al. (2409.19044), PROP-1 and, with `power=2`, PROP-2.
    """
    weights = [i**power for i in range(1, rung.layers + 1)]
    ends = [sum(weights[:i]) / sum(weights) for i in range(1, rung.layers + 1)]
    parts = [(end, {"num_layers": i}) for i, end in enumerate(ends, 1)]
    return Recipe(_stages(rung, steps, parts, "midas", optimizer_state, rates))


@recipe("compoundgrow-without-length")
def compoundgrow(rung, steps, optimizer_state="carry", rates="carry"):
    """Depth in 20, 20 and 30 % of the steps, then feedforward width.

    Source: Gu et al. (2010.12562), Sec. 4. Deviates: sequences keep their
    length, as a causal model cannot pool them.
    """
    layers, ffn = rung.layers, rung.sizes["intermediate_dim"]
    parts = [
        (0.2, {"num_layers": layers // 4, "intermediate_dim": ffn // 2}),
        (0.4, {"num_layers": layers // 2}),
        (0.7, {"num_layers": layers}),
        (1, {"intermediate_dim": ffn}),
    ]
    strategy = "compoundgrow"
    return Recipe(_stages(rung, steps, parts, strategy, optimizer_state, rates))


@recipe("msg")
def msg(rung, steps, name="Sch1-B", ramp=0.05):
    """Masked structural growth: one dimension at a time behind masks.

    Source: Yao et al. (2305.02869), Table 2. Deviates: one rate decays over
    the whole run, which the paper resets at the first two growths.

    Args:
        ramp: Float, the part of the steps in which new entries are let in.
    """
    published = kgrow.schedules.get(name)
    known = published.sizes[-1]
    final = {f: size for f, size in rung.sizes.items() if f in known}
    resized = published.resized(**final).scaled(total_steps=steps)
    opening = max(1, round(ramp * steps))
    stages = [resized.stages[0]]
    for stage in resized.stages[1:]:
        stages.append(
            stage.replaced(strategy=MSG(opening), ramp=None, learning_rate=None)
        )
    return Recipe(GrowthSchedule(stages))


@recipe("staged")
def staged(rung, steps, at=0.4, optimizer_state="carry", rates="carry"):
    """Half as wide, then two copies of the network side by side.

    Source: Shen et al. (2203.06211), the width operator.
    """
    parts = [(at, rung.half_width), (1, rung.sizes)]
    return Recipe(_stages(rung, steps, parts, "staged", optimizer_state, rates))


@recipe("half-width")
def half_width(
    rung,
    steps,
    at=0.4,
    strategy="net2net",
    optimizer_state="carry",
    rates="carry",
):
    """Half as wide until a part of the run, then whole, by any strategy."""
    parts = [(at, rung.half_width), (1, rung.sizes)]
    return Recipe(_stages(rung, steps, parts, strategy, optimizer_state, rates))


@recipe("half-ffn")
def half_ffn(
    rung,
    steps,
    at=0.4,
    strategy="net2net",
    optimizer_state="carry",
    rates="carry",
):
    """Feedforward networks half as wide until a part of the run."""
    ffn = rung.sizes["intermediate_dim"]
    parts = [(at, {"intermediate_dim": ffn // 2}), (1, rung.sizes)]
    return Recipe(_stages(rung, steps, parts, strategy, optimizer_state, rates))


@recipe("half-all")
def half_all(
    rung,
    steps,
    at=0.4,
    strategy="net2net",
    optimizer_state="carry",
    rates="carry",
):
    """Half of everything until a part of the run; blocks are stacked."""
    operator = Combine(strategy, "stack")
    parts = [(at, rung.halves), (1, rung.sizes)]
    return Recipe(_stages(rung, steps, parts, operator, optimizer_state, rates))


def _from_small(name, source, strategy):
    """A recipe with a small model that is trained by itself."""

    def build(rung, steps, share=0.4):
        small = max(1, round(share * steps))
        stages = [
            Stage(small, rung.halves),
            Stage(small + steps, rung.sizes, strategy()),
        ]
        return Recipe(GrowthSchedule(stages), trains_small_apart=True)

    build.__doc__ = (
        "Half of everything, trained by itself for a share of the steps, then "
        f"grown.\n\n    Source: {source}."
    )
    RECIPES[name] = build


_from_small(
    "small+net2net",
    "Chen et al. (1511.05641), with blocks stacked",
    lambda: Combine("net2net", "stack"),
)
_from_small("small+lemon", "Wang et al. (2310.07999)", lambda: "lemon")
_from_small(
    "small+ligo",
    "Wang et al. (2303.00980)",
    lambda: LiGO(steps=_FITTING, verbose=0),
)
_from_small(
    "small+mango",
    "Pan et al. (2310.10699)",
    lambda: Mango(steps=_FITTING, verbose=0),
)
