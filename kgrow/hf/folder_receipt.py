"""What growing a folder did, as numbers."""

import dataclasses
import io
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow.algebra.config_fields import text

_WIDTH = 79


@dataclass(frozen=True)
class FolderReceipt:
    """The record of one growth; prints as a short table.

    Attributes:
        strategy: string, the strategy and its arguments.
        source: string, the folder that grew.
        architecture: string, its `model_type`.
        dtype: string, of its weights.
        source_config: dict, the fields that changed, before.
        target_config: dict, the same after.
        parameters_before: int.
        parameters_after: int.
        bytes_before: int.
        bytes_after: int.
        seed: int, which the plan was made with.
        seconds: float, until all weights were written.
        exact: bool, whether the plan claims to keep the function.
        within: float, relative difference, beyond rounding, that repeated
            norms make in an exact growth.
        claims: dict, why, per dimension.
        left: list, files of the old folder that are not in the new one.
    """

    strategy: str
    source: str
    architecture: str
    dtype: str
    source_config: dict
    target_config: dict
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    seed: int
    seconds: float
    exact: bool
    within: float
    claims: dict
    left: list

    @classmethod
    def of(cls, plan, strategy, source, seconds):
        """The receipt of a `FolderPlan` that was carried out."""
        before, after = plan.source.config, plan.target.config
        changed = [k for k, v in after.items() if before.get(k) != v]
        layouts = plan.target.layouts.values()
        dtypes = sorted({t.dtype for t in layouts})
        return cls(
            strategy=strategy,
            source=source,
            architecture=before["model_type"],
            dtype=", ".join(dtypes),
            source_config={k: before.get(k) for k in changed},
            target_config={k: after[k] for k in changed},
            parameters_before=plan.source.parameters,
            parameters_after=plan.target.parameters,
            bytes_before=plan.checkpoint.nbytes,
            bytes_after=plan.nbytes,
            seed=plan.plan.seed,
            seconds=seconds,
            exact=plan.exact,
            within=max((c.within for c in plan.claims), default=0.0),
            claims={c.dim: c.reason for c in plan.claims},
            left=list(plan.checkpoint.left),
        )

    def as_dict(self):
        return dataclasses.asdict(self)

    def __str__(self):
        table = Table(title="grown", title_justify="left")
        for column in ("", "before", "after"):
            table.add_column(column, justify="right" if column else "left")
        for field, new in self.target_config.items():
            old = self.source_config[field]
            table.add_row(escape(field), _short(old), _short(new))
        table.add_row(
            "parameters",
            text(self.parameters_before),
            text(self.parameters_after),
        )
        table.add_row("bytes", text(self.bytes_before), text(self.bytes_after))
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        console.print(table)
        kept = "kept" if self.exact else "not kept"
        lines = [
            f"{self.strategy}, seed {self.seed}, {self.seconds:.1f} s",
            f"function: {kept}"
            + (f", within {self.within:.1g}" if self.within else ""),
        ]
        lines += [
            f"  {dim}: {why}"
            for dim, why in self.claims.items()
            if why != "exact"
        ]
        if self.left:
            lines.append(f"not carried along: {', '.join(self.left)}")
        return console.file.getvalue() + "\n".join(lines)


def _short(value):
    if isinstance(value, int) and not isinstance(value, bool):
        return text(value)
    shown = str(value)
    return escape(shown if len(shown) <= 24 else shown[:21] + "...")
