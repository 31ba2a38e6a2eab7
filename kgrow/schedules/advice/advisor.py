"""Advice on growing, drawn from published evidence."""

import math
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow import schedules
from kgrow.schedules.advice.case import Case
from kgrow.schedules.advice.condition import NUMBERS
from kgrow.schedules.advice.evidence import KINDS, RULES, SAVINGS
from kgrow.schedules.published.growth_timing import growth_tokens

# Parameters of the models that the formula for the moment was fitted to.
_FITTED = (4e8, 8e9)
_G_STACK = "Du et al., Stacking Your Transformers (2405.15319)"


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
        console = Console(
            file=StringIO(), width=100, force_jupyter=False, color_system=None
        )
        console.print(self)
        return console.file.getvalue().rstrip()


def advise(config, target, tokens, family="decoder", source_tokens=None):
    """Summarizes published evidence on growing from one size to another.

    Nothing is measured and nothing is guessed: each statement is a row of
    `kgrow/schedules/advice/evidence.toml` with its paper, and the answer names
    what no row covers. Papers differ in what they count; see `counts_source`.

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
    best = next((row for row in evidence if row.saving > 0), None)
    strategy = best.strategy if best else None
    found = {kind: _findings(kind, case, strategy) for kind in KINDS}
    moment = _moment(case, strategy, found)
    grow = False if found["against"] else (True if best else None)
    same = [row for row in evidence if best and row.key == best.key]
    return Advice(
        grow=grow,
        strategy=strategy if grow else None,
        moment=moment if grow else None,
        factors={"width": case.width_factor, "depth": case.depth_factor},
        saving=(min(row.low for row in same), max(row.saving for row in same))
        if grow
        else None,
        counts_source=best.counts_source if grow else None,
        schedule=_schedule(case, strategy) if grow else None,
        reasons=tuple(_reason(row) for row in evidence),
        against=tuple(found["against"]),
        warnings=tuple(found["warning"]),
        shapes=tuple(found["shape"]),
        learning_rate=tuple(found["rate"]) if grow else (),
        alternatives=tuple(found["alternative"]),
        not_covered=_not_covered(case, best, strategy),
        case=case,
    )


def _evidence(case):
    """Rows that match the case: exact matches first, then by the worst result
    that any laboratory reports of the method, best first."""
    fitting = [
        row
        for row in SAVINGS
        if row.family == case.family
        and row.start in (case.start, "any")
        and case.grows <= row.grows
        and _possible(row.strategy, case)
    ]

    def order(row):
        worst = min(other.low for other in fitting if other.key == row.key)
        return len(row.grows - case.grows), -worst, row.method, -row.low

    return sorted(fitting, key=order)


def _possible(strategy, case):
    if strategy == "hypercloning":
        return case.width_factor % 1 == 0
    if strategy == "staged":
        return case.width_factor == 2
    return True


def _findings(kind, case, strategy):
    """A `Finding` for each rule of a kind that holds."""
    numbers = {name: getattr(case, name) for name in NUMBERS}
    return [
        Finding(rule.name, rule.says.format(**numbers), rule.source)
        for rule in RULES
        if rule.kind == kind and rule.holds(case, strategy)
    ]


def _reason(row):
    counted = "with" if row.counts_source else "without"
    figure = f"{abs(100 * row.saving):.1f} % of {row.measure}"
    said = "cost {} more" if row.saving < 0 else "saved {}"
    if row.at_most:
        said = "saved at most {}"
    named = f" ({row.method})" if row.method.lower() != row.strategy else ""
    return Finding(
        "saving",
        f"{row.strategy}{named} {said.format(figure)} ({counted} the small "
        f"model): {row.setting}",
        row.source,
    )


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
                _G_STACK,
            )
        )
    if moment >= case.tokens:
        found["against"].append(
            Finding(
                "too late",
                f"the formula would grow after {_short(moment)} tokens, and "
                f"there are {_short(case.tokens)}",
                f"{_G_STACK}, log10(d) = 0.88 log10(N) + 163.27 / log10(C) "
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
        ("mslt", "encoder"): "MSLT",
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


def _not_covered(case, best, strategy):
    found = []
    if best is None:
        ways = " and ".join(sorted(case.grows))
        start = {"run": "in one run", "checkpoint": "from a trained model"}
        found.append(f"growing {ways} of a {case.family} {start[case.start]}")
    elif best.grows != case.grows:
        found.append(
            f"growing {' and '.join(sorted(case.grows))} alone: the evidence "
            f"is on {' and '.join(sorted(best.grows))} together"
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


def _short(number):
    if number < 1000:
        return f"{number:g}"
    place = min(int(math.log10(number)) // 3, 4)
    return f"{number / 1000**place:.3g}{' kMBT'[place]}"
