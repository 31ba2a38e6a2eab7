"""A schedule as an aligned table."""

import io

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow.algebra.config_fields import text

# Wide enough for any: a broken row would not be a row.
_WIDTH = 1000


def schedule_text(schedule):
    """The table of a schedule as text, a line for each stage."""
    console = Console(
        file=io.StringIO(), width=_WIDTH, record=True, force_jupyter=False
    )
    console.print(schedule_table(schedule))
    lines = console.export_text(styles=False).splitlines()
    return "\n".join(line.rstrip() for line in lines).rstrip()


def schedule_table(schedule):
    """A schedule as a `rich.table.Table`; `*` marks fields that grow.

    Columns that no stage says anything in are left out.
    """
    rows = [_row(schedule, index) for index in range(len(schedule.stages))]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(
        box=None,
        pad_edge=False,
        title=schedule.name and escape(schedule.name),
        title_justify="left",
        title_style="",
    )
    shown = []
    for column in columns:
        values = [row.get(column, "") for row in rows]
        if not any(values):
            continue
        numbers = all(_is_number(value) for value in values)
        shown.append(column)
        table.add_column(
            escape(column),
            justify="right" if numbers else "left",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*(escape(row.get(column, "")) for column in shown))
    return table


def _row(schedule, index):
    stage, sizes = schedule.stages[index], schedule.sizes
    before = sizes[index - 1] if index else {}
    begin = str(schedule.stages[index - 1].until) if index else "0"
    row = {"stage": str(index + 1), "from": begin, "until": str(stage.until)}
    # All fields in the order in which they first appear, in every row.
    for field in dict.fromkeys(f for found in sizes for f in found):
        value = sizes[index].get(field)
        grown = index and value != before.get(field, value)
        row[field] = (
            "" if value is None else f"{'*' * bool(grown)}{text(value)}"
        )
    grows = schedule.grows(index)
    row["strategy"] = named(stage.strategy) if grows else ""
    ramp = schedule.ramp(index)
    row["ramp"] = "" if ramp is None else _ramp(ramp)
    row["learning rate"] = ", ".join(
        policy_text(policy) for policy in stage.learning_rate or ()
    )
    row["batch"] = _number(stage.batch_size)
    row["length"] = _number(stage.sequence_length)
    row["data"] = stage.data or ""
    row["training_options"] = ", ".join(
        f"{k}={v}" for k, v in (stage.training_options or {}).items()
    )
    row["trainable"] = _choice(stage.trainable)
    carried = stage.optimizer_state == "carry"
    row["optimizer"] = "" if carried else stage.optimizer_state
    return row


def named(strategy):
    """A short name of a strategy: its registered name, or its repr if it has
    other arguments than the defaults."""
    return strategy if isinstance(strategy, str) else repr(strategy)


def _choice(trainable):
    if isinstance(trainable, list):
        return ", ".join(["new", *trainable])
    return trainable or ""


def _ramp(ramp):
    shape = "" if ramp.shape == "linear" else f" {ramp.shape}"
    return f"{ramp.steps:,}{shape}"


def policy_text(policy):
    """A policy in lower case, with its arguments."""
    said = []
    for key, value in policy.get_config().items():
        if value is True:
            said.append(key)
        elif isinstance(value, int) and value is not False:
            said.append(f"{key}={value:,}")
        elif value is not None and value is not False:
            said.append(f"{key}={value}")
    name = type(policy).__name__.lower()
    return f"{name}({', '.join(said)})" if said else name


def _number(value):
    return "" if value is None else f"{value:,}"


def _is_number(value):
    return value.lstrip("*").replace(",", "").isdigit() or not value
