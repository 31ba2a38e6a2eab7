"""`kgrow advise`: published evidence on growing from one size to another."""

from rich.console import Console

from kgrow.schedules.advice.advisor import advise
from kgrow.schedules.print_table import schedule_table
from kgrow_cli.commands.fitting import print_table


def print_advice(config, target, tokens, family, source_tokens):
    """Prints the advice on a case, and the schedule where one fits.

    Raises:
        GrowthError: a size shrinks, nothing grows, or a value is not valid.
    """
    console = Console(highlight=False)
    advice = advise(config, target, tokens, family, source_tokens)
    print_table(console, advice.__rich__())
    if advice.schedule is not None:
        print_table(console, schedule_table(advice.schedule))
