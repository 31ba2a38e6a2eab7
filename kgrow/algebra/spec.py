"""The parts of a network: dimensions, stacks of blocks, named axes.

A `ModelSpec` is plain data, read off a network's variables with an `AxisMap`,
and all that a strategy sees of a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kgrow.algebra.axes import Axes
from kgrow.algebra.errors import GrowthError

KINDS = ("stream", "nonlinear", "lookup", "rotary", "alibi")
NORMS = (None, "layer", "rms", "softmax")
PLACEMENTS = ("pre", "post")


@dataclass(frozen=True)
class Dim:
    """A dimension that can grow.

    Args:
        name: string, as the axes write it.
        field: config field that sets its size; its own name by default. The
            size need not be the field's value (a stage's width is a multiple
            of the first one's). `"num_heads[1]"` is an entry of a list.
        kind: what may be done to it. `"nonlinear"`: there is a nonlinearity
            behind
            it, so entries may be copied or added, never mixed. `"stream"`:
            linear; entries may also be scaled and averaged. `"lookup"`: it is
            indexed (a vocabulary, positions), so entries keep their places and
            new ones are added. `"rotary"`, `"alibi"`: pairs of a head that are
            turned by their own frequencies, heads that have their own slopes;
            old entries go where the larger network has the same ones.
        norm: the norm that takes statistics along it, between what makes
            values and all that read them: `"layer"`, `"rms"`, `"softmax"` or
            `None`.
        top_k: config field that says how many entries, those of the largest
            values, take part for each token (`"num_experts_per_tok"`); empty
            where all do.
    """

    name: str
    field: str = ""
    kind: str = "nonlinear"
    norm: str | None = None
    top_k: str = ""

    def __post_init__(self):
        _check_option("kind", self.kind, KINDS)
        _check_option("norm", self.norm, NORMS)
        object.__setattr__(self, "field", self.field or self.name)

    @property
    def is_placed(self) -> bool:
        """Whether its entries have places of their own: what is indexed keeps
        its index, and what is treated by its position goes where the larger
        network treats it alike."""
        return self.kind in ("lookup", "rotary", "alibi")


@dataclass(frozen=True)
class BlockStack:
    """A stack of like blocks, written `{name}` in the paths of an `AxisMap`.

    Args:
        name: string, the placeholder of the block's number.
        field: config field that holds the number of blocks, as in `Dim`.
        norm: `"pre"` if a block whose exits are zero is the identity (norms
            inside the residual branches, or none), `"post"` if not.
        epsilon: config field that holds the constant inside the norms.
        period: int. A block does what its number, modulo the period, says
            (shifted windows: 2), so that copies keep the remainder.
        first: int, the number of the first block in the paths.
    """

    name: str
    field: str = ""
    norm: str = "post"
    epsilon: str = "layer_norm_epsilon"
    period: int = 1
    first: int = 0

    def __post_init__(self):
        _check_option("norm", self.norm, PLACEMENTS)
        object.__setattr__(self, "field", self.field or self.name)


def _check_option(name, value, allowed):
    if value not in allowed:
        raise GrowthError(
            f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
        )


@dataclass(frozen=True)
class VariableSpec:
    """One variable: its path, shape and axes."""

    path: str
    shape: tuple[int, ...]
    axes: Axes
    stack: str | None = None
    block: int | None = None
    template: str | None = None
    initializer: object = field(default=None, compare=False, repr=False)
    first: int = 0

    def at(self, block: int) -> str:
        """The path of the same variable in another block of its stack."""
        number = str(block + self.first)
        template = self.template or self.path
        return template.replace(f"{{{self.stack}}}", number)


@dataclass(frozen=True)
class ModelSpec:
    """A network as growth sees it: plain data.

    Attributes:
        config: dict of config fields.
        dims: `{name: Dim}`.
        sizes: `{dim name: size}`.
        stacks: `{name: BlockStack}`.
        depths: `{stack name: number of blocks}`.
        variables: `{path: VariableSpec}`, in the network's order.
        outputs: tuple of the `Axes` of the network's outputs, or `None`.
    """

    config: dict
    dims: dict[str, Dim]
    sizes: dict[str, int]
    stacks: dict[str, BlockStack]
    depths: dict[str, int]
    variables: dict[str, VariableSpec]
    outputs: tuple[Axes, ...] | None = None

    @property
    def output_dims(self) -> set[str]:
        """Names of the dimensions that the outputs have."""
        return {dim for axes in self.outputs or () for dim in axes.dims}

    def stack_of(self, dim: str) -> str | None:
        """The stack whose blocks alone use `dim`, or `None`.

        Such a dimension may grow differently in each block.
        """
        stacks = {
            variable.stack
            for variable in self.variables.values()
            if dim in variable.axes.dims
        }
        return stacks.pop() if len(stacks) == 1 else None
