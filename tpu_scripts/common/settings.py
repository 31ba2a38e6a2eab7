"""Flags, and the configuration files that they override.

A configuration is a TOML file with three tables: `[paper]` says what was
published, `[model]` has fields of the model that are not those of
`kgrow.models.configurations`, `[run]` has flags by their names, with
underscores. What the command line says goes before what the file says. A key
that nobody reads is an error.
"""

import argparse
import difflib
import json
import pathlib
import re
import tomllib

from kgrow.algebra.errors import GrowthError

TABLES = ("paper", "model", "run")
PAPER = (
    "title",
    "id",
    "table",
    "method",
    "command",
    "expected",
    "counts",
    "unknown",
)
PRECISIONS = ("float32", "mixed_bfloat16")


def make_parser(description, program=None):
    """A parser with the flags that all programs have.

    Args:
        description: string, a program's docstring; its first paragraph is
            shown.
        program: optional string, the program's name.

    Example:

    >>> parser = make_parser("Trains.", "train.py")
    >>> read(parser, ["--mesh", "2x4"]).mesh
    (2, 4)
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description.split("\n\n")[0],
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", help="TOML file with any of these flags")
    add("--seed", type=_count(0), default=0)
    add("--batch-size", type=_count(1), help="over all devices of all hosts")
    add(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="mixed_bfloat16 keeps weights in float32 and computes in bfloat16",
    )
    add("--mesh", type=mesh, help="devices along batch and model, as in 2x4")
    add(
        "--layout",
        default="data",
        help="data (weights on every device), model (heads, feedforward and "
        "vocabulary along the mesh's second axis) or a JSON file from "
        "expressions to axes",
    )
    add(
        "--multi-host",
        action="store_true",
        help="several processes, as the environment describes them; also if "
        "KERAS_DISTRIBUTION_NUM_PROCESSES is set",
    )
    add(
        "--simulate-devices",
        type=_count(1),
        metavar="N",
        help="this many devices on the CPU",
    )
    add("--data", help="see the program's docstring")
    add("--data-dir", help="folder of TFDS, gs:// too")
    add("--checkpoints", metavar="DIR", help="folder, gs:// too")
    add(
        "--programs",
        metavar="DIR",
        help="folder of compiled programs, which a resumed run finds again",
    )
    add("--logs", metavar="DIR", help="for TensorBoard and metrics.jsonl")
    add(
        "--no-tensorboard",
        dest="tensorboard",
        action="store_false",
        help="metrics.jsonl only",
    )
    add("--dry-run", action="store_true", help="print the plan, train nothing")
    add(
        "--smoke",
        action="store_true",
        help="all of it in miniature, on eight simulated devices",
    )
    return parser


def read(parser, arguments=None):
    """Reads the command line, and the configuration file that it names.

    Args:
        parser: `argparse.ArgumentParser`.
        arguments: optional list of strings; the command line if left out.

    Returns:
        `argparse.Namespace`. Besides the flags it has `paper`, a dict, and
        `fields`, a dict of the model's fields.

    Raises:
        GrowthError: the file has a key that no flag has, or a value that its
            flag does not take.
    """
    first, _ = parser.parse_known_args(arguments)
    paper, fields = {}, {}
    if first.config is not None:
        tables = load(first.config)
        paper, fields = tables.get("paper", {}), tables.get("model", {})
        parser.set_defaults(**_checked(parser, tables.get("run", {}), first))
    options = parser.parse_args(arguments)
    given = dict(getattr(options, "field", None) or [])
    options.paper = paper
    options.fields = {**fields, **given}
    return options


def load(path):
    """The tables of a configuration file.

    Raises:
        GrowthError: it cannot be read, or has a table or an entry about the
            paper that is not known.
    """
    try:
        tables = tomllib.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise GrowthError(
            f"A configuration is a TOML file. Received: {path!r}, {error}"
        ) from error
    for name in tables:
        _known(name, TABLES, f"{path}: there is no table")
    for key in tables.get("paper", {}):
        _known(key, PAPER, f"{path}: `[paper]` has no")
    return tables


def mesh(text):
    """`"2x4"` as `(2, 4)`.

    Example:

    >>> mesh("8"), mesh("2x4")
    ((8, 1), (2, 4))
    """
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", str(text))
    if found is None:
        raise argparse.ArgumentTypeError(
            "a mesh is a number of devices along the batch, and one along the "
            f"model, as in 8x1 or 2x4. Received: {text!r}"
        )
    return int(found[1]), int(found[2] or 1)


def field(text):
    """`"dropout=0.1"` as `("dropout", 0.1)`: values are JSON, or strings."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(
            f"a field of the model is NAME=VALUE. Received: {text!r}"
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _count(least):
    def count(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(
                f"an integer of at least {least}. Received: {text}"
            )
        return value

    count.__name__ = f"integer of at least {least}"
    return count


count = _count


def _checked(parser, run, first):
    """The file's flags as the command line would have had them."""
    actions = {
        a.dest: a
        for a in parser._actions
        if a.dest not in ("help", "config", "field")
    }
    found = {}
    for key, value in run.items():
        _known(key, actions, f"{first.config}: `[run]` has no")
        action = actions[key]
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise GrowthError(
                    f"{first.config}: `{key}` is true or false. Received: "
                    f"{key}={value!r}"
                )
            found[key] = value
            continue
        try:
            found[key] = parser._get_value(action, str(value))
            parser._check_value(action, found[key])
        except argparse.ArgumentError as error:
            raise GrowthError(
                f"{first.config}: {error}. Received: {key}={value!r}"
            ) from error
        if key in ("schedule", "layout"):
            found[key] = _beside(first.config, found[key])
    return found


def _beside(config, name):
    """A path in a configuration is one from the file's own folder."""
    if not name.endswith(".json") or name.startswith(("/", "gs://")):
        return name
    return str(pathlib.Path(config).parent / name)


def _known(key, known, message):
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise GrowthError(
            f"{message} `{key}`.{hint} There are: {', '.join(sorted(known))}"
        )
