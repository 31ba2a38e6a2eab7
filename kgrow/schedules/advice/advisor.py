"""Advice on growing, drawn from published evidence."""

import math
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow import schedules
from kgrow.schedules.advice.case import Case
from kgrow.schedules.advice.evidence import G_STACK, RULES, SAVINGS
from kgrow.schedules.published.growth_timing import growth_tokens

# Source of the formula for the moment of growth.
_FITTED = (4e8, 8e9)


@dataclass(frozen=True)
class Finding:
    """One sentence of advice, with its source.

    Args:
        rule: string, the rule's name.
        says: string.
        source: string.
    """

    rule: str
    says: str
    source: str

    def __str__(self):
        return f"{self.says} [{self.source}]"


@dataclass(frozen=True)
class Advice:
    """The result of `advise()`; prints as a table.

    Attributes:
        grow: `True`, `False`, or `None` where no evidence fits.
        strategy: string, the strategy's name, or `None`.
        moment: int, tokens after which to grow, or `None`.
        factors: dict of the growth factors of width and depth.
        saving: `(low, high)`, what was published of the strategy in such a
            setting, as parts of the cost from scratch, or `None`.
        counts_source: bool, whether that counts the small model.
        schedule: `GrowthSchedule` or `None`.
        reasons: tuple of `Finding`s.
        against: tuple of `Finding`s, why not to grow.
        warnings: tuple of `Finding`s.
        shapes: tuple of `Finding`s on sizes.
        learning_rate: tuple of `Finding`s.
        alternatives: tuple of `Finding`s, other ways to weigh.
        not_covered: tuple of strings, what there is no evidence on.
        case: `Case`.
    """

    grow: bool | None
    strategy: str | None
    moment: int | None
    factors: dict
    saving: tuple | None
    counts_source: bool | None
    schedule: object
    reasons: tuple
    against: tuple
    warnings: tuple
    shapes: tuple
    learning_rate: tuple
    alternatives: tuple
    not_covered: tuple
    case: Case

    @property
    def recommendation(self):
        """One sentence."""
        if self.grow is None:
            return "no published evidence fits: measure before you rely on it"
        if not self.grow:
            return "do not grow: train the large model from scratch"
        text = f"grow by '{self.strategy}'"
        if self.moment is not None:
            text += f" after {_short(self.moment)} tokens"
        low, high = (round(100 * part) for part in self.saving)
        span = f"{low} %" if low == high else f"{low} to {high} %"
        counted = "with" if self.counts_source else "without"
        return f"{text}; published savings {span}, {counted} the small model"

    def __rich__(self):
        table = Table(title=escape(self.recommendation), title_justify="left")
        for column in ("", "what", "source"):
            table.add_column(column)
        parts = {
            "against": self.against,
            "reason": self.reasons,
            "learning rate": self.learning_rate,
            "sizes": self.shapes,
            "warning": self.warnings,
            "alternative": self.alternatives,
        }
        for label, findings in parts.items():
            for finding in findings:
                said = (finding.says, finding.source)
                table.add_row(label, *map(escape, said))
        for text in self.not_covered:
            table.add_row("not covered", escape(text), "")
        return table

    def __str__(self):
        console = Console(file=StringIO(), width=100, force_jupyter=False)
        console.print(self)
        return console.file.getvalue().rstrip()


def advise(config, target, tokens, family="decoder", source_tokens=None):
    """Summarizes published evidence on growing from one size to another.

    Nothing is measured and nothing is guessed: each statement is a row of
    `kgrow.schedules.advice.evidence` with the paper it comes from, and what no
    row covers is said. Papers differ in what they count; see `counts_source`.

    Args:
        config: dict of the small model's sizes, as in `growth_config`; with
            `vocabulary_size`, parameters count embeddings.
        target: dict of the sizes to grow to.
        tokens: number, tokens of the whole training at the final size; images
            where the family is `"vision"`.
        family: `"decoder"`, `"encoder"` or `"vision"`.
        source_tokens: number of tokens that a small model which is there has
            been trained on; `None` if the small one is still to be trained,
            and counts.

    Returns:
        `Advice`.

    Raises:
        GrowthError: a size shrinks, nothing grows, or an argument is none of
            what it may be.

    Example:

    >>> found = advise({"hidden_dim": 4096, "num_layers": 8,
    ...     "intermediate_dim": 16384}, {"num_layers": 32}, tokens=100e9)
    >>> found.grow, found.strategy, found.saving
    (True, 'stack', (0.237, 0.353))
    >>> advise({"hidden_dim": 128, "num_layers": 12},
    ...     {"hidden_dim": 768}, tokens=300e9).recommendation
    'do not grow: train the large model from scratch'
    """
    case = Case(dict(config), dict(target), tokens, family, source_tokens)
    evidence = _evidence(case)
    strategy = evidence[0].strategy if evidence else None
    found = {
        kind: [
            _finding(r, case) for r in RULES if _holds(r, kind, case, strategy)
        ]
        for kind in ("against", "warning", "shape", "rate", "alternative")
    }
    moment = _moment(case, strategy, found)
    if not evidence:
        grow = None if not found["against"] else False
    else:
        grow = not found["against"]
    same = [
        e
        for e in evidence
        if e.strategy == strategy and e.grows == evidence[0].grows
    ]
    reasons = [
        Finding(
            "saving", f"{e.strategy} saved {_span(e)}: {e.setting}", e.source
        )
        for e in evidence
    ]
    return Advice(
        grow=grow,
        strategy=strategy if grow else None,
        moment=moment if grow else None,
        factors={"width": case.width_factor, "depth": case.depth_factor},
        saving=(min(e.low for e in same), max(e.high for e in same))
        if grow
        else None,
        counts_source=same[0].counts_source if grow else None,
        schedule=_schedule(case, strategy) if grow else None,
        reasons=tuple(reasons),
        against=tuple(found["against"]),
        warnings=tuple(found["warning"]),
        shapes=tuple(found["shape"]),
        learning_rate=tuple(found["rate"]) if grow else (),
        alternatives=tuple(found["alternative"]),
        not_covered=_not_covered(case, evidence, strategy),
        case=case,
    )


def _evidence(case):
    """Rows that match the case, exact matches first, then by their lowest
    saving, highest first."""
    trained = case.source_tokens is not None
    fitting = [
        row
        for row in SAVINGS
        if row.family == case.family
        and row.trained == trained
        and case.grows <= row.grows
        and _possible(row.strategy, case)
    ]
    return sorted(
        fitting, key=lambda row: (len(row.grows - case.grows), -row.low)
    )


def _possible(strategy, case):
    if strategy == "hypercloning":
        return case.width_factor % 1 == 0
    if strategy == "staged":
        return case.width_factor == 2
    return True


def _holds(rule, kind, case, strategy):
    return rule.kind == kind and bool(rule.when(case, strategy))


def _finding(rule, case):
    fields = ("tokens_per_parameter", "width_factor", "depth_factor")
    says = rule.says.format(**{name: getattr(case, name) for name in fields})
    return Finding(rule.name, says, rule.source)


def _moment(case, strategy, found):
    """Tokens after which a decoder is stacked, by the authors' formula."""
    if strategy != "stack" or case.family != "decoder" or not case.flops:
        return None
    if case.source_tokens is not None:
        return None
    moment = growth_tokens(case.parameters, case.flops)
    low, high = _FITTED
    if not low <= case.parameters <= high:
        found["warning"].append(
            Finding(
                "moment",
                f"the formula for the moment was fitted to models of 410M to "
                f"7B parameters; this one has {_short(case.parameters)}",
                G_STACK,
            )
        )
    if moment >= case.tokens:
        found["against"].append(
            Finding(
                "too late",
                f"the formula would grow after {_short(moment)} tokens, and "
                f"there are {_short(case.tokens)}",
                f"{G_STACK}, log10(d) = 0.88 log10(N) + 163.27 / log10(C) "
                "- 5.74",
            )
        )
    return moment


def _schedule(case, strategy):
    """A published schedule for the case, or `None`."""
    if case.source_tokens is not None or not case.parameters:
        return None
    sizes = {k: v for k, v in case.final.items() if k != "vocabulary_size"}
    if strategy == "stack" and case.family == "decoder":
        if case.depth_factor % 1:
            return None
        return schedules.get(
            "G_stack",
            parameters=case.parameters,
            flops=case.flops,
            factor=int(case.depth_factor),
            config=sizes,
        )
    names = {
        ("msg", "encoder"): "Sch1-B",
        ("msg", "decoder"): "Sch1-G",
        ("stack", "encoder"): "StackBERT-tuned",
        ("compoundgrow", "encoder"): "CompoundGrow",
    }
    name = names.get((strategy, case.family))
    if name is None:
        return None
    schedule = schedules.get(name)
    known = {k: v for k, v in sizes.items() if k in schedule.sizes[-1]}
    return schedule.resized(**known)


def _not_covered(case, evidence, strategy):
    found = []
    if not evidence:
        ways = " and ".join(sorted(case.grows))
        start = (
            "in one run"
            if case.source_tokens is None
            else "from a trained model"
        )
        found.append(f"growing {ways} of a {case.family} {start}")
    elif evidence[0].grows != case.grows:
        found.append(
            f"growing {' and '.join(sorted(case.grows))} alone: the evidence "
            f"is on {' and '.join(sorted(evidence[0].grows))} together"
        )
    if case.parameters is None:
        found.append(
            "tokens for a parameter: `config` and `target` do not say width "
            "and depth"
        )
    elif case.parameters > 1e10:
        found.append("models above 10B parameters, beside single runs")
    if case.family == "vision" and case.parameters:
        found.append("how many images are too many: the limit of 20 is text's")
    if strategy == "stack" and case.family == "encoder":
        found.append("when to stack an encoder, beside the published schedules")
    return tuple(found)


def _span(row):
    low, high = (f"{100 * part:.1f}" for part in (row.low, row.high))
    counted = "with" if row.counts_source else "without"
    span = f"{low} %" if low == high else f"{low} to {high} %"
    return f"{span} ({counted} the small model)"


def _short(number):
    if number < 1000:
        return f"{number:g}"
    place = min(int(math.log10(number)) // 3, 4)
    return f"{number / 1000**place:.3g}{' kMBT'[place]}"
