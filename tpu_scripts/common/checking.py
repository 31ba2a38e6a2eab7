"""Checks one after the other, and what came of them."""

import dataclasses
import io
import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow.algebra.errors import GrowthError

OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"


@dataclasses.dataclass
class Check:
    """What came of one check.

    Args:
        name: string.
        verdict: `"ok"`, `"FAILED"` or `"skipped"`.
        detail: string.
        values: dict, numbers for `--json`.
    """

    name: str
    verdict: str
    detail: str = ""
    values: dict = dataclasses.field(default_factory=dict)


class Checks:
    """Runs checks, none of which keeps the others from being run.

    Example:

    >>> checks = Checks()
    >>> checks.run("one", lambda: ("fine", {}))
    >>> checks.run("two", lambda: ("never", {}), needs=("none",))
    >>> [check.verdict for check in checks.found], checks.passed
    (['ok', 'skipped'], False)
    """

    def __init__(self):
        self.found = []

    @property
    def passed(self):
        """Whether all are well."""
        return all(check.verdict == OK for check in self.found)

    def run(self, name, function, needs=()):
        """Runs a check.

        Args:
            name: string.
            function: gives `(detail, values)`, or raises what is wrong.
            needs: names of checks without which this one makes no sense.
        """
        fine = {check.name for check in self.found if check.verdict == OK}
        missing = [other for other in needs if other not in fine]
        if missing:
            detail = f"needs {', '.join(missing)}"
            self.found.append(Check(name, SKIPPED, detail))
            return
        try:
            detail, values = function()
        except (GrowthError, ValueError, RuntimeError, OSError) as error:
            self.found.append(Check(name, FAILED, str(error)))
            return
        self.found.append(Check(name, OK, detail, values))

    def table(self):
        """The checks as text."""
        table = Table(box=None, pad_edge=False)
        table.add_column("check", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        table.add_column("detail", overflow="fold")
        for check in self.found:
            table.add_row(check.name, check.verdict, escape(check.detail))
        console = Console(file=io.StringIO(), width=110)
        console.print(table)
        lines = console.file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def json(self):
        """The checks as JSON."""
        return json.dumps(
            {
                "passed": self.passed,
                "checks": [dataclasses.asdict(check) for check in self.found],
            },
            indent=2,
            default=str,
        )
