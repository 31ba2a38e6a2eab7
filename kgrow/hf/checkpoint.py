"""A folder of a model: its config, its tensors, and what lies beside them."""

import json
import pathlib
from dataclasses import dataclass

from kgrow.algebra.errors import FileError, GrowthError
from kgrow.hf.stored_tensor import FLOATS, StoredTensor, read_header

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# What belongs to the model whatever its weights are.
_CARRIED = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template*",
    "*.model",
    "*.tiktoken",
    "*.py",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder that was opened: no tensor of it has been read yet.

    Attributes:
        folder: `pathlib.Path`.
        config: dict, of `config.json`.
        tensors: dict from names to `StoredTensor`s.
        metadata: dict of strings, of the safetensors files.
        carried: names of the files that go along as they are.
        left: names of the files that do not.
    """

    folder: pathlib.Path
    config: dict
    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]
    carried: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def nbytes(self):
        return sum(t.nbytes for t in self.tensors.values())


def open_checkpoint(folder):
    """Opens a folder of safetensors and reads the headers of its files.

    Args:
        folder: path of a folder with `config.json` and `model.safetensors`, or
            shards with `model.safetensors.index.json`.

    Returns:
        `Checkpoint`.

    Raises:
        FileError: a file is missing, is not what it should be, or a link leads
            out of the folder.
        GrowthError: the weights are quantised, or of a dtype that nothing can
            be computed in.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileError(f"there is no folder {str(folder)!r}.")
    config = _read_json(folder, CONFIG)
    if "quantization_config" in config:
        method = config["quantization_config"]
        if isinstance(method, dict):
            method = method.get("quant_method")
        raise GrowthError(
            f"The weights in {str(folder)!r} are quantised ({method}), and "
            "entries of a quantised tensor cannot be copied or mixed one by "
            "one. Grow the folder it was made from, and quantise the result."
        )
    tensors, metadata = _read_tensors(folder)
    _check_dtypes(tensors)
    weights = {t.file.name for t in tensors.values()}
    names = sorted(p.name for p in folder.iterdir())
    names = [n for n in names if n not in (*weights, CONFIG, SINGLE, INDEX)]
    carried = [n for n in names if _is_carried(folder, n)]
    for name in carried:
        _inside(folder, name)
    left = [n for n in names if n not in carried and n != "README.md"]
    return Checkpoint(
        folder, config, tensors, metadata, tuple(carried), tuple(left)
    )


def _is_carried(folder, name):
    path = pathlib.PurePath(name)
    return (folder / name).is_file() and any(
        path.match(pattern) for pattern in _CARRIED
    )


def _read_tensors(folder):
    if (folder / INDEX).exists():
        if (folder / SINGLE).exists():
            raise FileError(
                f"{str(folder)!r} has {SINGLE} and {INDEX}: it is not clear "
                "which of them are the weights. Move one of them away."
            )
        return _read_shards(folder)
    if not (folder / SINGLE).exists():
        raise FileError(
            f"{str(folder)!r} has no {SINGLE} and no {INDEX}. Weights in "
            "another format are converted by loading them in `transformers` "
            "and calling `save_pretrained(folder)`."
        )
    return read_header(_inside(folder, SINGLE))


def _read_shards(folder):
    """The tensors of all shards; the index and the shards have to agree."""
    places = _read_json(folder, INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise FileError(f"{INDEX} has no `weight_map` of names to files.")
    tensors, metadata = {}, {}
    for file in sorted(set(map(str, places.values()))):
        if pathlib.PurePath(file).name != file:
            raise FileError(
                f"{INDEX} names files of its own folder only. Received: "
                f"{file!r}"
            )
        found, about = read_header(_inside(folder, file))
        metadata.update(about)
        for name, tensor in found.items():
            if places.get(name) != file:
                raise FileError(
                    f"{file!r} holds {name!r}, which {INDEX} says is in "
                    f"{places.get(name)!r}."
                )
            tensors[name] = tensor
    lost = sorted(set(places) - set(tensors))
    if lost:
        raise FileError(
            f"{INDEX} names {len(lost)} tensors that are not where it says. "
            f"Received: {lost[0]!r} in {places[lost[0]]!r}"
        )
    return {name: tensors[name] for name in places}, metadata


def _check_dtypes(tensors):
    wrong = {n: t.dtype for n, t in tensors.items() if t.dtype not in FLOATS}
    # Counters and masks of old files; the table says whether they are known.
    wrong = {n: d for n, d in wrong.items() if n.endswith("weight")}
    if wrong:
        name = next(iter(wrong))
        raise GrowthError(
            f"Weights grow in {', '.join(FLOATS)}. Received: {name!r} of dtype "
            f"{wrong[name]}, and {len(wrong) - 1} more such tensors"
        )


def _read_json(folder, name):
    path = _inside(folder, name)
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise FileError(f"{str(path)!r} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise FileError(f"{str(path)!r} is no JSON object.")
    return found


def _inside(folder, name):
    """The path of a file of the folder.

    Raises:
        FileError: it is not there, or a link that leads out of the folder. In
            the cache of `huggingface_hub`, links lead to `blobs` of the same
            repository.
    """
    path, root = folder / name, folder.resolve()
    if not path.exists():
        raise FileError(f"{str(folder)!r} has no file {name!r}.")
    allowed = [root]
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent / "blobs")
    target = path.resolve()
    if not any(target.is_relative_to(place) for place in allowed):
        raise FileError(
            f"{str(path)!r} is a link out of the folder, to {str(target)!r}, "
            "and is not followed. Put the file itself there."
        )
    return path
