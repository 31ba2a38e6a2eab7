"""Whether a growth keeps the function, as a table."""

from rich.markup import escape
from rich.table import Table


def claims_table(claims, plan):
    """A table of claims, given as dicts, with the sizes that they are about."""
    source, target = plan.source, plan.target
    old = {**source.sizes, **source.depths}
    new = {**target.sizes, **target.depths}
    table = Table(title="is the function kept?", title_justify="left")
    for column in ("dimension", "from", "to"):
        table.add_column(
            column,
            justify="right" if column != "dimension" else "left",
            no_wrap=True,
        )
    table.add_column("kept", no_wrap=True)
    table.add_column("why")
    for claim in claims:
        name = claim["dim"]
        why = "" if claim["reason"] == "exact" else claim["reason"]
        table.add_row(
            escape(name),
            f"{old.get(name, 0):,}",
            f"{new[name]:,}",
            "[green]exact[/]" if claim["exact"] else "[red]no[/]",
            escape(why),
        )
    return table
