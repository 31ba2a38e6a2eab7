"""Shell completion of strategies, schedules and fields.

A shell waits for these, so nothing here imports Keras or kgrow: names are read
off the decorators in kgrow's source, and fields off the model's file.
"""

import importlib.util
import json
import pathlib
import re
import zipfile


def strategies(incomplete: str) -> list[str]:
    """Names of strategies; after `WIDTH+` names for the depth.

    Example:

    >>> strategies("net"), strategies("net2net+sta")
    (['net2net'], ['net2net+stack', 'net2net+staged'])
    """
    before, plus, begun = incomplete.rpartition("+")
    names = _decorated("register", "strategies/*.py", begun)
    return [before + plus + name for name in names]


def schedules(incomplete: str) -> list[str]:
    """Names of published schedules, in any case, and JSON files.

    Example:

    >>> schedules("sch1-")
    ['Sch1-B', 'Sch1-G', 'Sch1-L']
    """
    files = [str(path) for path in pathlib.Path().glob("*.json")]
    names = _decorated("published", "schedules/published/*.py", incomplete)
    return names + sorted(f for f in files if f.startswith(incomplete))


def fields(ctx, incomplete: str) -> list[str]:
    """Whole numbers and lists in the model's config, with `=` after them.

    Args:
        ctx: the arguments that the shell has read so far, as `click` holds
            them.
    """
    model = ctx.params.get("model")
    config = _config(pathlib.Path(model)) if model else {}
    return [
        f"{name}="
        for name, value in sorted(config.items())
        if name.startswith(incomplete) and _is_size(value)
    ]


def _is_size(value):
    if isinstance(value, list):
        return bool(value) and all(_is_size(entry) for entry in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _config(model):
    """The config in a `.keras` file or a folder; nothing if there is none."""
    try:
        if model.is_dir():
            return json.loads((model / "config.json").read_text())
        with zipfile.ZipFile(model) as archive:
            return json.loads(archive.read("config.json"))["config"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        # A shell cannot show an error; the command itself reports it.
        return {}


def _decorated(decorator, pattern, incomplete):
    """The first arguments of a decorator in kgrow's files, in order."""
    spec = importlib.util.find_spec("kgrow")
    folders = spec.submodule_search_locations if spec else []
    found = set()
    for folder in folders or ():
        for path in pathlib.Path(folder).glob(pattern):
            found.update(
                re.findall(
                    rf'^@{decorator}\(\s*"([^"]+)"', path.read_text(), re.M
                )
            )
    begun = incomplete.lower()
    return sorted(name for name in found if name.lower().startswith(begun))
