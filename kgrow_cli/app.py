"""The commands of `kgrow` and their options."""

import pathlib
from typing import Annotated

import typer

from kgrow_cli import completion, settings
from kgrow_cli.keras_choice import Backend, choose
from kgrow_cli.outcomes import outcome
from kgrow_cli.schedule import schedule_app

app = typer.Typer(
    name="kgrow",
    help="Grow small trained Keras models into larger ones.",
    epilog="Exit codes: 0 done, 1 growth refused, 2 wrong usage, 3 a file "
    "cannot be read or written, 4 something is not installed, 70 an error in "
    "kgrow itself, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(schedule_app, name="schedule")

Model = Annotated[
    pathlib.Path,
    typer.Argument(
        metavar="MODEL",
        help="A saved model, MODEL.keras; or a folder of safetensors with its "
        "config.json, or hf://owner/name.",
        show_default=False,
    ),
]
KerasModel = Annotated[
    pathlib.Path,
    typer.Argument(
        metavar="MODEL", help="A saved model, MODEL.keras.", show_default=False
    ),
]
Output = Annotated[
    pathlib.Path,
    typer.Option("--output", "-o", help="Where to write.", show_default=False),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace a file that is there already.")
]
Sizes = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=SIZE",
        help="A size to grow to; may be repeated. Lists in quotes: "
        "'depths=[2,2,18,2]'.",
        autocompletion=completion.fields,
        show_default=False,
    ),
]
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy",
        "-s",
        help="A name; WIDTH+DEPTH for one of each, as net2net+stack; or a "
        "list of blocks, '[0,1,0,1]'.",
        autocompletion=completion.strategies,
    ),
]
Options = Annotated[
    list[str],
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An argument of the strategy, as steps=50; may be repeated.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of what is drawn.")]
Batch = Annotated[
    int, typer.Option(min=1, help="Examples in a batch, for the FLOPs.")
]
Length = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Tokens in a sequence, for the FLOPs. By default the longest "
        "that the model takes.",
        show_default=False,
    ),
]
Imports = Annotated[
    list[str],
    typer.Option(
        "--import",
        metavar="MODULE",
        help="A module to import first, that registers classes of the model.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OnBackend = Annotated[
    Backend | None,
    typer.Option(
        help="What Keras runs on; by default what KERAS_BACKEND or Keras' own "
        "configuration says.",
        show_default=False,
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.")
]


def _is_folder(model):
    """Whether a model is a folder of safetensors, here or on a hub."""
    return model.is_dir() or str(model).startswith("hf:/")


def _version(asked):
    if asked:
        from kgrow import __version__

        print(f"kgrow {__version__}")
        raise typer.Exit


@app.callback()
def kgrow(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
):
    """Grow small trained Keras models into larger ones."""
    del version


@app.command()
def demo(
    scale: Annotated[
        float, typer.Option(min=0.01, help="Times the usual steps.")
    ] = 1.0,
    width: Annotated[
        str,
        typer.Option(
            help="Strategy of the first growth.",
            autocompletion=completion.strategies,
        ),
    ] = "net2net",
    depth: Annotated[
        str,
        typer.Option(
            help="Strategy of the second growth.",
            autocompletion=completion.strategies,
        ),
    ] = "stack",
    seed: Seed = 0,
    out: Annotated[
        pathlib.Path,
        typer.Option(
            help="Folder for the runs' ledgers, the picture and the grown "
            "model; those of an earlier demo are replaced."
        ),
    ] = pathlib.Path("demo"),
    text: Annotated[
        str,
        typer.Option(
            help="What it learns: stdlib, english, a folder of text files, or "
            "tfds:NAME, a prepared data set of TFDS."
        ),
    ] = "stdlib",
    tokenizer: Annotated[
        str, typer.Option(help="bytes, or subwords learned from the text.")
    ] = "bytes",
    vocabulary: Annotated[
        int | None,
        typer.Option(help="How many subwords.", show_default=False),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(help="TFDS's folder.", show_default=False),
    ] = None,
    programs: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Folder of compiled programs, which a later demo need not "
            "compile again; on JAX.",
            show_default=False,
        ),
    ] = None,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Grow a small language model while it trains, and see whether it pays.

    A GPT learns a text, by default the bytes of Python's standard library, and
    grows twice inside one fit; then the large model is trained from scratch
    for as many FLOPs. 3 to 5 minutes on two cores, no download.

    [bold]Examples[/]

    kgrow demo

    kgrow demo --scale 4 --width hypercloning --depth middle --seed 1

    kgrow demo --text notes --tokenizer subwords --vocabulary 1024
    """
    with outcome(debug):
        choose(backend)
        from kgrow_cli.commands.demo import run_demo

        run_demo(
            scale,
            seed,
            width,
            depth,
            out,
            text,
            tokenizer,
            vocabulary,
            data_dir,
            programs,
        )


@app.command()
def inspect(
    model: Model,
    batch: Batch = 1,
    length: Length = None,
    imports: Imports = settings.NONE_GIVEN,
    as_json: AsJson = False,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Show what a model is made of and what of it can grow.

    Its dimensions and stacks, the axes of every kind of variable, parameters
    and FLOPs, as a tree. Any Keras model will do: where no axes are known,
    they are read off its computation.

    [bold]Examples[/]

    kgrow inspect small.keras

    kgrow inspect small.keras --batch 32 --length 1024 --json
    """
    with outcome(debug):
        if _is_folder(model):
            from kgrow_cli.commands.folders import (
                inspect_folder,
                refuse_options,
            )

            refuse_options(
                batch=batch != 1,
                length=length,
                backend=backend,
                **{"import": imports},
            )
            inspect_folder(model, as_json)
            return
        choose(backend)
        from kgrow_cli.commands.inspection import inspect_model

        inspect_model(model, batch, length, imports, as_json)


@app.command()
def plan(
    model: Model,
    sizes: Sizes,
    strategy: Strategy = "net2net",
    option: Options = settings.NONE_GIVEN,
    seed: Seed = 0,
    batch: Batch = 8,
    length: Length = None,
    time: Annotated[
        bool,
        typer.Option(help="Estimate times from a measurement on this machine."),
    ] = True,
    imports: Imports = settings.NONE_GIVEN,
    as_json: AsJson = False,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Say what a growth would do, without doing it. Writes nothing.

    Parameters, memory and FLOPs before and after; how long it would take, and
    what that rests on; and for each dimension whether the function is kept,
    read off the matrices of the strategy.

    [bold]Examples[/]

    kgrow plan small.keras --set num_layers=12 --strategy lemon

    kgrow plan swin.keras --set 'depths=[2,2,18,2]' --strategy stack
    """
    with outcome(debug):
        target = settings.sizes(sizes)
        arguments = settings.pairs(option, "--option")
        chosen = settings.value(strategy), arguments
        if _is_folder(model):
            from kgrow_cli.commands.folders import plan_folder, refuse_options

            refuse_options(
                batch=batch != 8,
                length=length,
                backend=backend,
                **{"import": imports},
            )
            plan_folder(model, target, chosen, seed, as_json)
            return
        choose(backend)
        from kgrow_cli.commands.planning import plan_growth

        plan_growth(
            model,
            target,
            chosen,
            seed,
            batch,
            length,
            time,
            imports,
            as_json,
        )


@app.command()
def grow(
    model: Model,
    sizes: Sizes,
    output: Output,
    strategy: Strategy = "net2net",
    option: Options = settings.NONE_GIVEN,
    data: Annotated[
        str | None,
        typer.Option(
            help="What strategies that learn learn from, and the loss is "
            "measured on: a file ARRAYS.npz with x and y, or 'stdlib', bytes "
            "of Python's standard library.",
            show_default=False,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Where the file holds none: the name of a Keras loss; "
            "'sparse_categorical_crossentropy from_logits' for logits.",
            show_default=False,
        ),
    ] = None,
    optimizer_state: Annotated[
        str,
        typer.Option(help="What becomes of it: carry, reset_new or reset."),
    ] = "carry",
    trainable: Annotated[
        str | None,
        typer.Option(
            help="What trains afterwards: all, new, or what is new and the "
            "variables that a list of patterns chooses: '[\"head/\"]'.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    imports: Imports = settings.NONE_GIVEN,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Grow a saved model into a larger one, and save that.

    Weights, optimizer state and history go along. The new file is written
    beside its place and then renamed, so that there is never half of one.
    [bold]kgrow strip[/] makes a plain network of it. A folder of safetensors
    becomes another such folder, without Keras; its sizes are fields of its
    config.json.

    [bold]Examples[/]

    kgrow grow small.keras --set num_layers=12 --strategy lemon -o big.keras

    kgrow grow ./smollm2 --set num_hidden_layers=40 -s llama_pro -o ./deeper

    kgrow grow small.keras --set hidden_dim=768 --set num_heads=12
    --strategy ligo --option steps=100 --data stdlib -o big.keras
    """
    with outcome(debug):
        target = settings.sizes(sizes)
        arguments = settings.pairs(option, "--option")
        chosen = settings.value(strategy), arguments
        if _is_folder(model):
            from kgrow_cli.commands.folders import grow_folder, refuse_options

            refuse_options(
                data=data,
                loss=loss,
                optimizer_state=optimizer_state != "carry",
                trainable=trainable,
                force=force,
                backend=backend,
                **{"import": imports},
            )
            grow_folder(model, target, chosen, output, seed)
            return
        choose(backend)
        from kgrow_cli.commands.growing import grow_model

        grow_model(
            model,
            target,
            chosen,
            output,
            data=data,
            loss=loss,
            optimizer_state=optimizer_state,
            trainable=trainable,
            seed=seed,
            force=force,
            imports=imports,
        )


@app.command()
def vocabulary(
    folder: Annotated[
        pathlib.Path,
        typer.Argument(
            metavar="FOLDER",
            help="A folder of safetensors with its config.json and "
            "tokenizer.json, or hf://owner/name.",
            show_default=False,
        ),
    ],
    tokenizer: Annotated[
        pathlib.Path,
        typer.Option(
            help="A folder with the other tokenizer.json, or hf://owner/name; "
            "the embeddings of a model beside it tell which tokens are near.",
            show_default=False,
        ),
    ],
    output: Output,
    debug: Debug = False,
):
    """Give a folder of safetensors the vocabulary of another tokenizer.

    Rows of tokens that both have are kept; others are the mean of the pieces
    that the old tokenizer makes of them, or the row of the nearest token that
    both have. The function is not kept.

    [bold]Examples[/]

    kgrow vocabulary ./smollm2 --tokenizer ./qwen3 -o ./smollm2-qwen3
    """
    with outcome(debug):
        from kgrow_cli.commands.folders import change_vocabulary

        change_vocabulary(folder, tokenizer, output)


@app.command()
def strip(
    model: KerasModel,
    output: Output,
    force: Force = False,
    force_open_gates: Annotated[
        bool,
        typer.Option(
            "--open-gates",
            help="Open gates that are not fully open; the function changes.",
        ),
    ] = False,
    imports: Imports = settings.NONE_GIVEN,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Save the plain network inside a grown model: no gates, stock names.

    The file is that of an ordinary Keras model; one whose class is kgrow's
    own still needs `import kgrow` to be loaded.

    [bold]Examples[/]

    kgrow strip big.keras -o plain.keras
    """
    with outcome(debug):
        choose(backend)
        from kgrow_cli.commands.stripping import strip_model

        strip_model(model, output, force, force_open_gates, imports)


@app.command()
def report(
    run_dir: Annotated[
        pathlib.Path,
        typer.Argument(help="The folder of a run.", show_default=False),
    ],
    output: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The page to write; pictures go beside it. By default "
            "RUN_DIR/report.html.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Which metric the curves show; by default val_loss, or loss.",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
    debug: Debug = False,
):
    """Make a page and pictures of a run's records.

    Reads the ledger's JSON lines, the CSV files of keras.callbacks.CSVLogger
    and the growth histories in .keras and .weights.h5 files, in the folder
    and in those below it: one run a ledger, or else a folder. The page needs
    no other file.

    [bold]Examples[/]

    kgrow report runs/msg

    kgrow report runs --metric val_accuracy -o report.html
    """
    with outcome(debug):
        choose()
        from kgrow_cli.commands.reporting import write_report

        write_report(run_dir, output, metric, force)


@app.command()
def advise(
    config: Annotated[
        list[str],
        typer.Option(
            "--from",
            metavar="FIELD=SIZE",
            help="A size of the small model; may be repeated.",
            show_default=False,
        ),
    ],
    sizes: Sizes,
    tokens: Annotated[
        float,
        typer.Option(
            min=1,
            help="Tokens of the whole training at the final size, as 100e9; "
            "images for vision.",
            show_default=False,
        ),
    ],
    family: Annotated[
        str, typer.Option(help="decoder, encoder or vision.")
    ] = "decoder",
    source_tokens: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Tokens that the small model has been trained on, if there "
            "is one; without it, its training counts as a cost.",
            show_default=False,
        ),
    ] = None,
    backend: OnBackend = None,
    debug: Debug = False,
):
    """Say whether published results speak for a growth.

    A recommendation, the reasons and the warnings, each with its paper.
    Nothing is measured.

    [bold]Examples[/]

    kgrow advise --from hidden_dim=4096 --from num_layers=8
    --set num_layers=32 --tokens 100e9
    """
    with outcome(debug):
        small = settings.sizes(config, "--from")
        target = settings.sizes(sizes)
        choose(backend)
        from kgrow_cli.commands.advising import print_advice

        print_advice(small, target, tokens, family, source_tokens)


def main(arguments=None):
    """Runs the command; the entry point of the script `kgrow`.

    Args:
        arguments: optional list of strings, by default those of the process.
    """
    app(arguments, prog_name="kgrow")
