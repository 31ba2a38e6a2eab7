"""Models read from files, and files written all or nothing."""

import contextlib
import importlib
import os
import pathlib
import sys
import zipfile

import keras
import typer

from kgrow.growth.growable_model import GrowableModel


def read_model(path, imports=()):
    """The growable model in a `.keras` file.

    A model of any other class is wrapped, its axes read off its computation;
    its optimizer goes on.

    Args:
        path: where the file is.
        imports: names of modules that register classes of the model; those
            in the present folder are found.

    Raises:
        OSError: the file is missing, or no model can be made of it.
        GrowthError: the axes of the model cannot be read.
    """
    here = os.getcwd()
    if here not in sys.path:
        # A command's path begins with its own folder; `python` has this one.
        sys.path.append(here)
    for module in imports:
        _import(module)
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    if not zipfile.is_zipfile(path):
        raise OSError(
            f"{str(path)!r} is no `.keras` file, which `model.save("
            "'model.keras')` writes. Weights alone do not say what model they "
            "are of."
        )
    _register_hub(path)
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        # Keras puts whole configs before and after it, hundreds of lines.
        _, _, cause = str(error).rpartition("Exception encountered:")
        said = cause.partition("Full object config:")[0].strip()
        raise OSError(
            f"{str(path)!r} cannot be loaded: {said}\nIf the model has "
            "classes of yours, name the module that registers them: --import "
            "MODULE."
        ) from error
    if isinstance(model, GrowableModel):
        return model
    wrapped = GrowableModel(model)
    if model.compiled:
        config = keras.saving.deserialize_keras_object(
            model.get_compile_config()
        )
        wrapped.compile(**{**config, "optimizer": model.optimizer})
    return wrapped


def _import(module):
    names = module.split(".")
    if not all(name.isidentifier() for name in names):
        raise typer.BadParameter(
            f"--import takes the name of a module, as `mine` or `mine.layers`. "
            f"Received: --import {module!r}"
        )
    try:
        importlib.import_module(module)
    except ImportError:
        raise
    except Exception as error:
        raise ImportError(
            f"the module {module!r} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def check_output(path, force, suffixes=(".keras",)):
    """Makes sure, before any long work, that a file can be written.

    Returns:
        `pathlib.Path`.

    Raises:
        typer.BadParameter: it has another suffix.
        OSError: it is there already and must not be replaced, or its folder
            is not there.
    """
    path = pathlib.Path(path)
    if path.suffix not in suffixes:
        raise typer.BadParameter(
            f"the file to write ends in {' or '.join(suffixes)}. Received: "
            f"{str(path)!r}"
        )
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {str(path.parent)!r} to write to."
        )
    if path.is_dir() or (path.exists() and not force):
        raise FileExistsError(
            f"{str(path)!r} is there already; --force replaces a file."
        )
    return path


@contextlib.contextmanager
def replacing(path):
    """Context that gives a place beside `path` to write to, which takes its
    place at the end; on any error there is nothing new.

    Example:

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(path) as beside:
    ...     _ = beside.write_text("whole")
    >>> [p.name for p in path.parent.iterdir()], path.read_text()
    (['a.txt'], 'whole')
    """
    path = pathlib.Path(path)
    # With its suffix, by which writers know the format.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _register_hub(path):
    """Imports KerasHub where the file has classes of it."""
    with zipfile.ZipFile(path) as archive:
        try:
            config = archive.read("config.json")
        except KeyError:
            return  # Keras says what is wrong
    if b'"keras_hub' in config:
        from kgrow.hub.keras_hub_import import keras_hub

        keras_hub()
