"""What of KerasHub grows, and how nearly the function is kept, measured."""

import re
import time
from dataclasses import dataclass, field

import keras
import numpy as np

from docs.tools.hub_models import (
    NOT_TRIED,
    hub_classes,
    hub_inputs,
    small_network,
)
from kgrow.algebra.config_fields import base
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import Architecture
from kgrow.architecture.inference.derive_axes import derive
from kgrow.architecture.inference.perturbation import integer_fields
from kgrow.architecture.recipes import recipe_of
from kgrow.growth.growable_model import GrowableModel

GROWTHS = ("depth", "ffn", "double", "hidden")
_HEADER = (
    "class",
    "s",
    "grows",
    "dims",
    "depth, `identity`",
    "ffn ×1.5, `net2net`",
    "all ×2, `hypercloning`",
    "hidden ×4/3, `lemon`",
    "does not grow",
)
_FFN = ("intermediate", "mlp", "ffn", "ffw", "expansion")
_NOISE = 0.1


@dataclass(frozen=True)
class HubRow:
    """One class of KerasHub.

    Attributes:
        name: string.
        seconds: float, of deriving and checking its axes, or `None`.
        grows: `{field: [fields that have to move with it]}`.
        dims: list of the names of its dimensions.
        cells: `{growth: what the table says of it}`.
        fixed: `{field: why it does not grow}`.
        reason: why nothing is known of the class.
    """

    name: str
    seconds: float | None = None
    grows: dict = field(default_factory=dict)
    dims: list = field(default_factory=list)
    cells: dict = field(default_factory=dict)
    fixed: dict = field(default_factory=dict)
    reason: str = ""

    @property
    def line(self):
        """The row as cells of the table."""
        if self.reason:
            blank = [""] * (len(_HEADER) - 3)
            return [f"`{self.name}`", "", "–", *blank[:-1], "", self.reason]
        grows = [
            f"`{name}`" + (f" (with {_listed(others)})" if others else "")
            for name, others in self.grows.items()
        ]
        fixed = [f"`{name}`: {why}" for name, why in self.fixed.items()]
        return [
            f"`{self.name}`",
            f"{self.seconds:.1f}",
            ", ".join(grows) or "–",
            str(len(self.dims)),
            *(self.cells.get(growth, "–") for growth in GROWTHS),
            "; ".join(fixed),
        ]


def hub_row(name):
    """Derives the axes of a small network of a class, and grows it.

    Example:

    >>> row = hub_row("GPT2Backbone")  # doctest: +SKIP
    >>> row.cells["ffn"]  # doctest: +SKIP
    'exact, 1e-07'
    """
    if name in NOT_TRIED:
        return HubRow(name, reason=NOT_TRIED[name])
    network = small_network(name)
    start = time.perf_counter()
    try:
        axes = derive(network, hub_inputs(name, network))
    except GrowthError as error:
        return HubRow(name, reason=f"refused: {_first_line(error)}")
    seconds = time.perf_counter() - start
    architecture = Architecture(axes, network)
    grows, fixed = _fields(architecture)
    cells = {
        growth: _cell(name, network, axes, targets, strategy)
        for growth, strategy, targets in _growths(architecture, grows)
    }
    return HubRow(name, seconds, grows, list(axes.dims), cells, fixed)


def table_names():
    """The names that the table has a row for, each class once."""
    return sorted({name for _, name in hub_classes().values()})


def to_markdown(lines):
    """The table as it stands in `docs/kerashub.md`.

    Args:
        lines: `{name: cells of its row}`, see `HubRow.line`.
    """
    rows = [list(_HEADER), ["---"] * len(_HEADER)]
    rows += [lines[name] for name in sorted(lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def from_markdown(table):
    """The inverse of `to_markdown()`.

    Example:

    >>> cells = HubRow("Backbone", reason="it is not measured").line
    >>> from_markdown(to_markdown({"Backbone": cells})) == {"Backbone": cells}
    True
    """
    rows = [
        re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
        for line in table.splitlines()[2:]
    ]
    return {cells[0].strip("`"): cells for cells in rows}


def counts(lines):
    """A sentence on how many classes there are of each sort.

    Args:
        lines: as of `to_markdown()`.

    Example:

    >>> counts({"Backbone": HubRow("Backbone", reason="it is not").line})
    '1 classes, 0 derived, 0 of them with a field that grows.'
    """
    derived = [cells for cells in lines.values() if cells[1]]
    growing = [cells for cells in derived if cells[2] != "–"]
    text = (
        f"{len(lines)} classes, {len(derived)} derived, {len(growing)} of them "
        "with a field that grows."
    )
    for place in range(4, 4 + len(GROWTHS)):
        tried = [c[place] for c in growing if c[place] != "–"]
        exact = sum(cell.startswith("exact") for cell in tried)
        if tried:
            text += (
                f"\n{_HEADER[place][0].upper()}{_HEADER[place][1:]}: "
                f"{len(tried)} tried, {exact} exact."
            )
    return text


# --- which fields grow --------------------------------------------------------


def _fields(architecture):
    """`({field: others that move with it}, {field: why not})`."""
    grows, fixed = {}, {}
    config = architecture.config
    for name in config:
        failed = None
        for others in [(), *((o,) for o in config if o != name)]:
            target = {n: _times(config[n], 2) for n in (name, *others)}
            try:
                architecture.build(architecture.check(target))
            except GrowthError as error:
                failed = failed or error
                continue
            grows[name] = list(others)
            break
        else:
            fixed[name] = _why(failed)
    whole = architecture.spec.config
    for name in dict.fromkeys(base(n) for n in integer_fields(whole)):
        notes = [
            note
            for noted, found in architecture.axes.notes.items()
            if base(noted) == name
            for note in found
        ]
        if notes and name not in grows and name not in fixed:
            fixed[name] = notes[0].split(": ")[-1]
    return grows, fixed


def _why(error):
    """The short form of why a field cannot grow."""
    text = str(error).split(" Received: ")[0]
    for mark in ("What is known: ", "cannot be built: "):
        if mark in text:
            text = text.split(mark)[1].split("; ")[0]
            return _first_line(text.split(": ")[-1]).rstrip(".")
    return _first_line(text).rstrip(".")


def _first_line(error):
    line = str(error).strip().splitlines()[0].replace("|", "\\|")
    return line if len(line) < 160 else f"{line[:157]}..."


def _listed(names):
    return ", ".join(f"`{name}`" for name in names)


def _times(value, factor):
    if isinstance(value, (list, tuple)):
        return [_times(v, factor) for v in value]
    return int(value * factor)


# --- growths ------------------------------------------------------------------


def _growths(architecture, grows):
    """`[(growth, strategy, targets to try in turn), ...]`."""
    config, axes = architecture.config, architecture.axes
    stacks = {base(s.field) for s in axes.stacks.values()} & set(grows)
    if stacks:
        together = {n for name in stacks for n in (name, *grows[name])}
        target = {name: _times(config[name], 2) for name in together}
        yield "depth", "identity", [target]
    widths = [
        name
        for name in grows
        if name not in stacks
        and any(
            dim.kind in ("stream", "nonlinear")
            for dim in axes.dims.values()
            if name in (base(dim.field), dim.top_k)
        )
    ]
    ffn = [n for n in widths if any(word in n for word in _FFN)]
    if ffn:
        names = (ffn[0], *grows[ffn[0]])
        yield "ffn", "net2net", [{n: _times(config[n], 1.5) for n in names}]
    if widths:
        yield "double", "hypercloning", _doublings(architecture, widths, grows)
    hidden = _hidden(architecture, widths)
    if hidden:
        heads = [n for n in widths if "heads" in n]
        alone = dict.fromkeys((hidden, *grows[hidden]))
        yield (
            "hidden",
            "lemon",
            [
                {n: _times(config[n], 4 / 3 + 1e-9) for n in names}
                for names in (alone, {**alone, **dict.fromkeys(heads)})
            ],
        )


def _doublings(architecture, widths, grows):
    """Everything doubled that can be, or one field after the other."""
    config = architecture.config
    target = {}
    for name in widths:
        more = {**target}
        for n in (name, *grows[name]):
            more[n] = _times(config[n], 2)
        try:
            architecture.build(architecture.check(more))
            target = more
        except GrowthError:
            continue
    return [target]


def _hidden(architecture, widths):
    """The field of the stream that norms are taken along."""
    spec = architecture.spec
    counts = {}
    for variable in spec.variables.values():
        for dim in variable.axes.dims:
            found = spec.dims[dim]
            normed = found.norm in ("layer", "rms")
            if normed and base(found.field) in widths:
                name = base(found.field)
                counts[name] = counts.get(name, 0) + 1
    return max(counts, key=counts.get, default=None)


def _cell(name, network, axes, targets, strategy):
    """What a growth did: a word, and how far the outputs differ."""
    failed, inputs = None, hub_inputs(name, network)
    probe = keras.tree.map_structure(_ones, inputs)
    for target in targets:
        model = GrowableModel(_noisy(network), axes)
        try:
            receipt = model.grow(target, strategy, probe=probe, seed=0)
        except GrowthError as error:
            failed = error
            continue
        finally:
            keras.utils.clear_session(free_memory=False)
        difference = f"{receipt.relative_diff:.0e}"
        if receipt.exact:
            return f"exact, {difference}"
        reasons = [r for r in receipt.claims.values() if r != "exact"]
        return f"{difference}: {reasons[0]}"
    text = str(failed)
    if "claims to keep the function" in text:
        return f"CONTRADICTION: {_first_line(text)}"
    return f"refused: {_why(failed)}"


def _ones(tensor):
    return None if tensor is None else np.ones(tensor.shape, tensor.dtype)


def _noisy(network):
    """A network like it with noise in every weight, so that no zero or one
    hides an error."""
    network = recipe_of(network).make({})
    rng = np.random.default_rng(0)
    for weight in network.weights:
        noise = _NOISE * rng.standard_normal(weight.shape)
        # A moving variance stays positive.
        noise = noise if weight.trainable else np.abs(noise)
        weight.assign(np.asarray(weight) + noise)
    return network
