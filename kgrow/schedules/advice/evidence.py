"""Published results on growing, read from `evidence.toml`.

`SAVINGS` are published savings, `1 - cost / cost from scratch`. `RULES` say
under which conditions something is to be done, or better left. Each names its
source, and how much of it was read.
"""

import pathlib
import string
import tomllib
from dataclasses import dataclass

from kgrow.algebra.errors import GrowthError
from kgrow.schedules.advice.case import DIRECTIONS, FAMILIES
from kgrow.schedules.advice.condition import NUMBERS, Condition, check_keys

PATH = pathlib.Path(__file__).with_name("evidence.toml")

KINDS = ("against", "warning", "shape", "rate", "alternative")
STARTS = ("run", "checkpoint", "any")
_READ = {"whole": "", "abstract": "abstract", "quoted": "as others quote it"}
_FIGURES = ("saving", "speedup", "hours")


@dataclass(frozen=True)
class Paper:
    """A source of evidence.

    Args:
        read: `"whole"`, `"abstract"` or `"quoted"`: how much of it was read.
        name: string, or `""`.
        authors: string, or `""`.
        arxiv: string, its number on arXiv, or `""`.
    """

    read: str
    name: str = ""
    authors: str = ""
    arxiv: str = ""

    def __post_init__(self):
        _check_option("read", self.read, _READ)

    def cite(self, place=""):
        """The citation, with a place in the paper.

        Example:

        >>> Paper("whole", "LiGO", "Wang et al.", "2303.00980").cite("Table 1")
        'Wang et al., LiGO (2303.00980), Table 1'
        """
        number = f"({self.arxiv})" if self.name else f"arXiv {self.arxiv}"
        title = f"{self.name} {number if self.arxiv else ''}".strip()
        parts = (self.authors, title, place, _READ[self.read])
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class Saving:
    """One published saving.

    Args:
        method: string, its name in the paper.
        strategy: string, the strategy of kgrow that does it.
        family: string, see `Case`.
        grows: frozenset of directions.
        start: `"checkpoint"` where it starts from an existing small model,
            `"run"` where the small one is trained in the same run, `"any"`
            where it makes no difference.
        setting: string.
        measure: string, the cost that was measured.
        saving: float, part of the cost from scratch, to three digits.
        counts_source: bool, whether the small model's cost is counted.
        source: string.
        at_most: bool, whether the paper reports it as an upper bound.
    """

    method: str
    strategy: str
    family: str
    grows: frozenset
    start: str
    setting: str
    measure: str
    saving: float
    counts_source: bool
    source: str
    at_most: bool = False

    def __post_init__(self):
        _check_option("family", self.family, FAMILIES)
        _check_option("start", self.start, STARTS)
        if not self.grows or not self.grows <= set(DIRECTIONS):
            raise GrowthError(
                f"`grows` lists some of {DIRECTIONS}. "
                f"Received: grows={sorted(self.grows)}"
            )
        if not self.saving < 1:
            raise GrowthError(
                "`saving` is a part of the cost from scratch, below 1. "
                f"Received: saving={self.saving}"
            )

    @property
    def low(self):
        """float, the least that it promises."""
        return min(self.saving, 0.0) if self.at_most else self.saving

    @property
    def key(self):
        """The key that two measurements of the same thing share."""
        return self.method, self.family, self.grows, self.start


@dataclass(frozen=True)
class Rule:
    """A condition on a case, and the advice that follows from it.

    Args:
        name: string.
        kind: `"against"`, which speaks against growing at all; `"warning"`;
            `"shape"`, about sizes; `"rate"`, about the learning rate; or
            `"alternative"`.
        when: `Condition`.
        unless: `Condition`, or `None`.
        says: string, with numbers of the case in braces.
        source: string.
    """

    name: str
    kind: str
    when: Condition
    unless: Condition | None
    says: str
    source: str

    def __post_init__(self):
        _check_option("kind", self.kind, KINDS)
        named = {name for _, name, *_ in string.Formatter().parse(self.says)}
        if unknown := named - {None, *NUMBERS}:
            raise GrowthError(
                f"`says` names numbers of {NUMBERS}. "
                f"Received: {sorted(unknown)} in {self.says!r}"
            )

    def holds(self, case, strategy):
        """Whether it applies to a `Case` for which `strategy` is advised."""
        return self.when.holds(case, strategy) and not (
            self.unless is not None and self.unless.holds(case, strategy)
        )


def load(path=PATH):
    """The evidence in a file.

    Args:
        path: path of a TOML file with the tables `papers`, `savings` and
            `rules`, as kgrow's own.

    Returns:
        `(savings, rules)`, tuples of `Saving` and `Rule`.

    Raises:
        GrowthError: a row has an unknown key, lacks one, or names a paper,
            a family or a direction that there is not; a rule's name is not
            unique; a paper is never cited.

    Example:

    >>> savings, rules = load()
    >>> max(row.saving for row in savings if row.method == "LiGO")
    0.557
    """
    tables = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    check_keys(tables, ("papers", "savings", "rules"))
    library = _Library(tables.get("papers", {}))
    savings = tuple(_saving(row, library) for row in tables.get("savings", ()))
    rules = tuple(_rule(row, library) for row in tables.get("rules", ()))
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise GrowthError(f"A rule's name is unique. Received twice: {twice}")
    library.check_all_are_cited()
    return savings, rules


class _Library:
    """The papers of a file, and which of them were cited."""

    def __init__(self, tables):
        keys = ("authors", "name", "arxiv", "read")
        for table in tables.values():
            check_keys(table, keys, required=("read",))
        self.papers = {key: Paper(**table) for key, table in tables.items()}
        self.cited = set()

    def cite(self, *sources):
        """One string of `{paper, place}` tables."""
        found = []
        for source in sources:
            check_keys(source, ("paper", "place"), required=("paper",))
            _check_option("paper", source["paper"], self.papers)
            self.cited.add(source["paper"])
            paper = self.papers[source["paper"]]
            found.append(paper.cite(source.get("place", "")))
        return "; ".join(found)

    def check_all_are_cited(self):
        if left := sorted(set(self.papers) - self.cited):
            raise GrowthError(f"No row cites these papers; remove them: {left}")


def _saving(row, library):
    keys = ("method", "strategy", "family", "grows", "start", "setting")
    keys += ("measure", "counts_source", "source")
    check_keys(row, (*keys, "at_most", *_FIGURES), required=keys)
    others = {k: v for k, v in row.items() if k not in _FIGURES}
    others["grows"] = frozenset(row["grows"])
    others["source"] = library.cite(row["source"])
    return Saving(saving=_figure(row), **others)


def _figure(row):
    """The saving, of a row's one figure as its paper prints it."""
    given = [name for name in _FIGURES if name in row]
    if len(given) != 1:
        raise GrowthError(
            f"A saving has one figure of {_FIGURES}. Received: {row}"
        )
    if "saving" in row:
        return row["saving"]
    if "speedup" in row:
        return round(1 - 1 / row["speedup"], 3)
    grown, scratch = row["hours"]
    return round(1 - grown / scratch, 3)


def _rule(row, library):
    keys = ("name", "kind", "when", "says", "sources")
    check_keys(row, (*keys, "unless"), required=keys)
    unless = row.get("unless")
    return Rule(
        name=row["name"],
        kind=row["kind"],
        when=Condition.read(row["when"]),
        unless=None if unless is None else Condition.read(unless),
        says=" ".join(row["says"].split()),
        source=library.cite(*row["sources"]),
    )


def _check_option(name, value, allowed):
    if value not in allowed:
        raise GrowthError(
            f"`{name}` is one of {sorted(allowed)}. Received: {name}={value!r}"
        )


SAVINGS, RULES = load()
