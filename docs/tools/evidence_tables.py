"""The tables of published evidence in `docs/advice.md`."""

import pathlib
import string

from docs.tools.write_tables import replace
from kgrow.schedules.advice.evidence import KINDS, RULES, SAVINGS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "advice.md"

_STARTS = {
    "checkpoint": "from a checkpoint",
    "run": "in one run",
    "any": "either way",
}


def tables():
    """`{name: Markdown}`: the savings, and the rules of each kind."""
    found = {"savings": _savings()}
    for kind in KINDS:
        found[f"rules: {kind}"] = _rules(kind)
    return found


def _savings():
    lines = ["| method | `strategy` | family | grows | setting | saves | of "]
    lines[0] += "| starts | small model counted | source |"
    lines.append("|---|---|---|---|---|---:|---|---|---|---|")
    for row in SAVINGS:
        saving = f"{100 * row.saving:.1f} %".replace("-", "−")
        cells = (
            row.method,
            f"`{row.strategy}`",
            row.family,
            ", ".join(sorted(row.grows)),
            row.setting,
            f"at most {saving}" if row.at_most else saving,
            row.measure.removeprefix("the "),
            _STARTS[row.start],
            "yes" if row.counts_source else "no",
            row.source,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rules(kind):
    lines = ["| rule | holds for | says | source |", "|---|---|---|---|"]
    for rule in RULES:
        if rule.kind != kind:
            continue
        when = str(rule.when)
        if rule.unless is not None:
            when += f"; not for {rule.unless}"
        cells = (rule.name, when, _text(rule.says), rule.source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(says):
    """What a rule says, with letters for the numbers of a case."""
    parts = []
    for text, name, *_ in string.Formatter().parse(says):
        parts.append(text)
        if name:
            parts.append("*n*")
    return "".join(parts)


def write(page=PAGE):
    """Writes the tables into the page."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables().items():
        text = replace(text, name, table)
    page.write_text(text, encoding="utf-8")
