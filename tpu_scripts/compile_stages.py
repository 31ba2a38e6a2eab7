"""Compiles the steps of a run's stages for a TPU slice, on this machine.

    .venv-tpu/bin/python tpu_scripts/compile_stages.py train_gpt2.py \\
        --config tpu_scripts/configs/msg_gpt2.toml --slice v5e-8 --stages 1,6

The first argument is the program, the others are what it will be given. One
line of JSON is printed for each step, last stage first, with what the compiler
says. `preflight.py --slice` calls this, and judges. No TPU is needed and no
weight is allocated; the compiler takes minutes for a large model.
"""

import importlib
import json
import os
import pathlib
import sys

import common  # noqa: F401
from common import pretraining, settings, slices, stage_steps

from kgrow.algebra.errors import GrowthError


def add_flags(parser):
    """Adds the flags of compiling for a slice."""
    add = parser.add_argument
    add(
        "--slice",
        metavar="NAME",
        help=f"one of {', '.join(slices.names())}",
    )
    add(
        "--stages",
        type=stages,
        metavar="N,N",
        help="of these only, from 1; the last one first",
    )
    add(
        "--quick",
        action="store_true",
        help="a worse program in half the time; its memory is not the real one",
    )


def stages(text):
    """`"1,6"` as `[1, 6]`.

    Example:

    >>> stages("1,6")
    [1, 6]
    """
    return [settings.count(1)(part) for part in text.split(",")]


def main(arguments=None):
    """Prints what the compiler says; gives the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = pathlib.Path(given[0]).stem
    program = importlib.import_module(name).PROGRAM
    parser = pretraining.parser(program, __doc__)
    add_flags(parser)
    try:
        options = settings.read(parser, given[1:])
        steps = stage_steps.StageSteps(
            program, options, slices.get(options.slice).devices()
        )
        for index in stage_steps.chosen(steps.numbers, options.stages):
            for kind in steps.kinds(index):
                row = steps.compiled(index, kind, options.quick)
                print(json.dumps(row), flush=True)
    except GrowthError as error:
        print(f"compile_stages.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    if not slices.ENVIRONMENT.items() <= os.environ.items():
        # JAX read it when it was imported: once more, with it.
        os.environ.update(slices.ENVIRONMENT)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    sys.exit(main())
