"""The record of one growth."""

from __future__ import annotations

import dataclasses
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow.algebra.config_fields import text
from kgrow.algebra.plain_data import plain

# Columns of a printed receipt; it has the same shape in a log file as on a
# terminal.
_WIDTH = 79


@dataclass(frozen=True)
class Receipt:
    """The record of one growth, or of a way back; prints as a short table.

    Attributes:
        strategy: string, the strategy and its arguments.
        source_config: dict, the growable fields before.
        target_config: dict, the growable fields after.
        parameters_before: int.
        parameters_after: int.
        step: int, the optimizer's iterations at the event, or `None` before
            `compile()`.
        seed: int, the seed of the plan.
        seconds: float, from the call to the swap, without the compilation of
            the next training step.
        peak_bytes: int, the most memory held beyond what was held at the call,
            or `None` where it cannot be measured.
        slots_carried: int, optimizer variables with a history after the event.
        slots_fresh: int, optimizer variables that start anew.
        exact: bool, whether the plan claims to keep the function.
        claims: dict from dimensions to the reason: `"exact"`, or why not.
        max_abs_diff: float, largest difference of the outputs on the probe.
        relative_diff: float, the same over the largest output.
        tolerance: float, rounding allowed for, relative.
        loss_before: float or `None`, on the batch given as `data`.
        loss_after: float or `None`.
        learned: dict with the figures of a learned phase (steps, losses, how
            far each part of the operator moved relative to its norm, seconds),
            or `None`.
        rates: dict with the smallest and the largest factor of the learning
            rate and the largest residual, after a growth with
            `learning_rate="transfer"`, or `None`.
        prepared: dict of what was compiled ahead of the growth, or `None`:
            the number of `programs`, the `seconds` it took beside the run,
            `code_bytes` on the device, `host_bytes` by which the process
            became larger meanwhile (both `None` where unknown), and why there
            is not more, `failure`.
    """

    strategy: str
    source_config: dict[str, Any]
    target_config: dict[str, Any]
    parameters_before: int
    parameters_after: int
    step: int | None
    seed: int
    seconds: float
    peak_bytes: int | None
    slots_carried: int
    slots_fresh: int
    exact: bool
    claims: dict[str, str]
    max_abs_diff: float
    relative_diff: float
    tolerance: float
    loss_before: float | None = None
    loss_after: float | None = None
    learned: dict[str, Any] | None = None
    rates: dict[str, float] | None = None
    prepared: dict[str, Any] | None = None

    def __post_init__(self):
        # Plain data from the start: otherwise the next save would be the first
        # to notice that a receipt cannot be written.
        for field in dataclasses.fields(self):
            value = plain(getattr(self, field.name), field.name)
            object.__setattr__(self, field.name, value)

    def to_dict(self) -> dict[str, Any]:
        """The receipt as plain data that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)

    def __str__(self) -> str:
        table = Table("")
        table.add_column("before", justify="right")
        table.add_column("after", justify="right")
        for row in self._rows():
            table.add_row(*map(escape, row))
        console = Console(
            file=io.StringIO(), width=_WIDTH, record=True, force_jupyter=False
        )
        console.print(self._title(), highlight=False, markup=False)
        console.print(table)
        for line in self._remarks():
            console.print(line, highlight=False, markup=False)
        return console.export_text(styles=False).rstrip()

    def _repr_html_(self):
        """The receipt as notebooks show it."""
        head = "".join(f"<th>{name}</th>" for name in ("", "before", "after"))
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th>"
            + "".join(f"<td>{html.escape(value)}</td>" for value in values)
            + "</tr>"
            for name, *values in self._rows()
        )
        remarks = "<br>".join(map(html.escape, self._remarks()))
        return (
            f"<p><b>{html.escape(self._title())}</b></p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p>{remarks}</p>"
        )

    def _title(self):
        if self.source_config == self.target_config:
            return "nothing grew: all sizes are as they were"
        smaller = self.parameters_after < self.parameters_before
        return f"{'projected' if smaller else 'grown'} by {self.strategy}"

    def _rows(self):
        """`(name, before, after)` of all that changed, as strings."""
        rows = [
            (field, text(before), text(value))
            for field, value in self.target_config.items()
            if (before := self.source_config.get(field, value)) != value
        ]
        before, after = self.parameters_before, self.parameters_after
        rows.append(("parameters", f"{before:,}", f"{after:,}"))
        if self.loss_before is not None:
            before, after = self.loss_before, self.loss_after
            rows.append(("loss", f"{before:.6f}", f"{after:.6f}"))
        return rows

    def _remarks(self):
        """Lines on how far the function moved, and on the optimizer."""
        kept = "function kept" if self.exact else "approximate"
        lines = [
            f"{kept}: max |Δoutput| {self.max_abs_diff:.2e}, relative "
            f"{self.relative_diff:.2e} (rounding {self.tolerance:.0e})"
        ]
        lines += [
            f"  {dim}: {reason}"
            for dim, reason in self.claims.items()
            if reason != "exact"
        ]
        if self.learned:
            moved = max(self.learned["moved"].values(), default=0.0)
            lines.append(
                f"operator: loss {self.learned['loss_before']:.6f} to "
                f"{self.learned['loss_after']:.6f} in "
                f"{self.learned['steps']} steps; moved by up to {moved:.1%} of "
                "its length"
            )
        if self.rates:
            lines.append(
                f"learning rate: factors {self.rates['smallest']:g} to "
                f"{self.rates['largest']:g}, residual up to "
                f"{self.rates['residual']:.1e}"
            )
        if self.prepared:
            lines.append(_prepared(self.prepared))
        peak = self.peak_bytes
        memory = "" if peak is None else f", peak +{peak / 2**20:.0f} MiB"
        at = "" if self.step is None else f" at step {self.step:,}"
        lines.append(
            f"{self.slots_carried} optimizer slots carried, "
            f"{self.slots_fresh} fresh{at}; {self.seconds:.2f} s{memory}"
        )
        return lines


def _prepared(prepared):
    """A line on what was compiled ahead."""
    if not prepared["programs"]:
        return f"compiled ahead: nothing, {prepared['failure']}"
    size = prepared["host_bytes"]
    memory = "" if size is None else f", +{size / 2**20:.0f} MiB"
    return (
        f"compiled ahead: {prepared['programs']} programs in "
        f"{prepared['seconds']:.2f} s{memory}"
    )
