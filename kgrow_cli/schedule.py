"""`kgrow schedule`: what is done with schedules of growth."""

import pathlib
from typing import Annotated

import typer

from kgrow_cli import completion, settings
from kgrow_cli.keras_choice import Backend, choose
from kgrow_cli.outcomes import outcome

schedule_app = typer.Typer(
    help="Show, scale and validate growth schedules.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Which = Annotated[
    str,
    typer.Argument(
        metavar="SCHEDULE",
        help="A published schedule's name, or a JSON file.",
        autocompletion=completion.schedules,
        show_default=False,
    ),
]
OnBackend = Annotated[
    Backend | None,
    typer.Option(help="What Keras runs on.", show_default=False),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.")
]
Output = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--output", "-o", help="The JSON file to write.", show_default=False
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace a file that is there already.")
]


@schedule_app.command("list")
def list_schedules(backend: OnBackend = None, debug: Debug = False):
    """List the published schedules, with their sources.

    [bold]Examples[/]

    kgrow schedule list
    """
    with outcome(debug):
        choose(backend)
        from kgrow_cli.commands.scheduling import list_published

        list_published()


@schedule_app.command()
def show(
    schedule: Which,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Draw it too: a file .png, .pdf or .svg.", show_default=False
        ),
    ] = None,
    force: Force = False,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Print a schedule as a table, or draw it as a staircase.

    [bold]Examples[/]

    kgrow schedule show Sch1-B

    kgrow schedule show mine.json --picture mine.png
    """
    with outcome(debug):
        choose(backend)
        from kgrow_cli.commands.scheduling import show_schedule

        show_schedule(schedule, picture, force)


@schedule_app.command()
def scale(
    schedule: Which,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="The last training step.", show_default=False),
    ] = None,
    factor: Annotated[
        float | None,
        typer.Option(
            min=1e-9, help="Times the present length.", show_default=False
        ),
    ] = None,
    sizes: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="FIELD=SIZE",
            help="A size of the final model; may be repeated.",
        ),
    ] = settings.NONE_GIVEN,
    output: Output = None,
    force: Force = False,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Fit a schedule to a shorter or longer run, or to another final model.

    [bold]Examples[/]

    kgrow schedule scale Sch1-B --steps 30000 -o short.json

    kgrow schedule scale MSLT --set num_layers=8 --factor 0.1
    """
    with outcome(debug):
        final = settings.sizes(sizes)
        if steps is not None and factor is not None:
            raise typer.BadParameter("give --steps or --factor, not both")
        if steps is None and factor is None and not final:
            raise typer.BadParameter(
                "nothing to do: --steps, --factor or --set"
            )
        choose(backend)
        from kgrow_cli.commands.scheduling import scale_schedule

        scale_schedule(schedule, steps, factor, final, output, force)


@schedule_app.command()
def validate(
    schedule: Which,
    model: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="A saved model to check every stage on.", show_default=False
        ),
    ] = None,
    imports: Annotated[
        list[str],
        typer.Option(
            "--import", metavar="MODULE", help="A module to import first."
        ),
    ] = settings.NONE_GIVEN,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Say whether a schedule can be run: by itself, or on a model.

    On a model, the network of every stage is built without values and every
    growth planned, as `fit` does before it starts.

    [bold]Examples[/]

    kgrow schedule validate mine.json

    kgrow schedule validate Sch1-B --model bert.keras
    """
    with outcome(debug):
        choose(backend)
        from kgrow_cli.commands.scheduling import validate_schedule

        validate_schedule(schedule, model, imports)
