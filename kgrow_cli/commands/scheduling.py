"""`kgrow schedule`: schedules shown, scaled and checked."""

import pathlib

from rich.console import Console
from rich.table import Table

from kgrow import schedules
from kgrow.algebra.config_fields import text
from kgrow.algebra.errors import GrowthError
from kgrow.schedules import GrowthSchedule
from kgrow.schedules.print_table import schedule_table
from kgrow_cli.commands.fitting import print_table, print_text
from kgrow_cli.commands.model_files import check_output, read_model, replacing

_PICTURES = (".png", ".pdf", ".svg")


def list_published():
    """Prints the published schedules, one a line."""
    table = Table(title="published schedules", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("stages", justify="right", no_wrap=True)
    table.add_column("ends at", no_wrap=True)
    table.add_column("source")
    for name in schedules.names():
        schedule = schedules.get(name)
        table.add_row(
            name,
            str(len(schedule)),
            str(schedule.stages[-1].until),
            schedule.source or "",
        )
    print_table(Console(highlight=False), table)


def read_schedule(said):
    """A schedule by its published name or from a JSON file.

    Raises:
        OSError: the file is not there.
        GrowthError: it is no schedule.

    Example:

    >>> read_schedule("sch1-b").name
    'Sch1-B'
    """
    path = pathlib.Path(said)
    if path.suffix == ".json" or path.is_file():
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {said!r}.")
        try:
            return GrowthSchedule.from_json(path)
        except (TypeError, KeyError, UnicodeDecodeError) as error:
            raise GrowthError(
                f"{said!r} holds no schedule: {error}. A schedule is an object "
                "with a list `stages`, as `GrowthSchedule.to_json()` writes it."
            ) from error
    return schedules.get(said)


def show_schedule(said, picture=None, force=False):
    """Prints a schedule, and draws it if there is a file to draw to."""
    if picture is not None:
        picture = check_output(picture, force, _PICTURES)
    schedule = read_schedule(said)
    _print(schedule)
    if picture is not None:
        with replacing(picture) as beside:
            schedule.plot(beside)
        print(f"written: {picture}")


def scale_schedule(
    said, steps=None, factor=None, final=None, output=None, force=False
):
    """Prints a schedule for another run or model, or writes it."""
    if output is not None:
        output = check_output(output, force, (".json",))
    schedule = read_schedule(said)
    if final:
        schedule = schedule.resized(**final)
    if steps is not None or factor is not None:
        schedule = schedule.scaled(total_steps=steps, factor=factor)
    _print(schedule)
    if output is not None:
        with replacing(output) as beside:
            schedule.to_json(beside)
        print(f"written: {output}")


def validate_schedule(said, model=None, imports=()):
    """Checks a schedule, on a model if there is one."""
    schedule = read_schedule(said)
    if model is None:
        print_text(
            Console(),
            f"valid by itself: {len(schedule)} stages, to "
            f"{_sizes(schedule.sizes[-1])}. --model checks every growth.",
        )
        return
    with Console(stderr=True).status("building every stage"):
        schedule.check(read_model(model, imports))
    print_text(
        Console(),
        f"valid on {model}: {len(schedule)} stages, to "
        f"{_sizes(schedule.sizes[-1])}",
    )


def _sizes(sizes):
    return ", ".join(f"{field} {text(size)}" for field, size in sizes.items())


def _print(schedule):
    console = Console(highlight=False)
    print_table(console, schedule_table(schedule))
    if schedule.source:
        console.print(f"source: {schedule.source}", markup=False)
    expected = schedule.expected or {}
    if "speed_up" in expected:
        console.print(
            f"published: {expected['speed_up']:.2f}x, a saving of "
            f"{expected['saving']:.1%} ({expected['counts']})",
            markup=False,
        )
