"""Which runs there are, and how far they are, as a table."""

from rich.console import Console
from rich.table import Table

from laboratory.files import WAITING, states


def show(queue, results):
    """Prints a line for each run of the queue, and how many are done."""
    found, by_key = results.read(), states(queue, results)
    table = Table(title="Runs", title_justify="left")
    for column in ("rung", "text", "run", "decay", "rate", "tokens", "seed"):
        table.add_column(column)
    table.add_column("state")
    table.add_column("loss", justify="right")
    for key, spec in queue.specs().items():
        result = found.get(key, {})
        loss = result.get("validation", {}).get("loss")
        table.add_row(
            spec.rung,
            spec.text,
            spec.name,
            spec.decay,
            f"{spec.rate:g}",
            f"{spec.tokens:g}",
            str(spec.seed),
            by_key[key],
            "" if loss is None else f"{loss:.4f}",
        )
    console = Console()
    console.print(table)
    waiting = sum(state == WAITING for state in by_key.values())
    console.print(f"{len(by_key)} runs, {waiting} of them waiting.")
