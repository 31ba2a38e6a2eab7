"""The vocabulary of another tokenizer, for a folder of safetensors."""

import json
import pathlib
import time

import numpy as np

from kgrow.algebra.axes import Axes
from kgrow.algebra.errors import GrowthError
from kgrow.hf.architectures import table_of
from kgrow.hf.checkpoint import CONFIG, open_checkpoint
from kgrow.hf.folder_spec import source_spec
from kgrow.hf.hub_download import local_folder
from kgrow.hf.model_card import card, kept_metadata
from kgrow.hf.output_folder import check_new_folder, new_folder
from kgrow.hf.shards import (
    SHARD_BYTES,
    NewTensor,
    append_array,
    append_copy,
    divide,
    new_shard,
    write_index,
)
from kgrow.hf.stored_tensor import DTYPES
from kgrow.hf.token_rows import TokenRows, read_tokenizer
from kgrow.hf.vocabulary_receipt import VocabularyReceipt

RECEIPT = "kgrow_receipt.json"
_VOCAB = "vocab"
_TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
    "*.tiktoken",
)


def change_vocabulary(folder, tokenizer, out, shard_bytes=SHARD_BYTES):
    """Gives a folder of safetensors the vocabulary of another tokenizer.

    The row of a token that both tokenizers have is kept. A token that only the
    new one has gets the mean of the rows of the pieces into which the old
    tokenizer divides its text. One that has no such pieces gets the row of the
    nearest token that both have, by the embeddings in `tokenizer` if there are
    any, and the mean of all rows otherwise. Embeddings, heads with weights of
    their own and biases along the vocabulary change alike; all other tensors
    are copied to the bit. The function is not kept.

    Args:
        folder: path of a folder with `config.json`, safetensors and
            `tokenizer.json`, or `"hf://owner/name"`.
        tokenizer: path of a folder with the other `tokenizer.json`, with or
            without a model beside it, or `"hf://owner/name"`.
        out: path of the folder to make.
        shard_bytes: int, the most bytes in a file of weights.

    Returns:
        `VocabularyReceipt`.

    Raises:
        FileError: a folder is not whole, or `out` is there already.
        GrowthError: no tensor is along the vocabulary, or the package
            `tokenizers` is missing.
        OSError: the disk is full.

    Example:

    >>> change_vocabulary("smollm2", "qwen3", out="smollm2-qwen-tokens")
    ... # doctest: +SKIP

    Reference:

    - mergekit's `tokensurgeon`, which approximates rows by other means too
      (orthogonal matching pursuit, subwords of the donor).
    """
    start = time.perf_counter()
    out = check_new_folder(out)
    checkpoint = open_checkpoint(local_folder(folder))
    donor = pathlib.Path(local_folder(tokenizer))
    table = table_of(checkpoint.config)
    spec = source_spec(checkpoint, table)
    along = _along_vocabulary(spec)
    old, new = read_tokenizer(checkpoint.folder), read_tokenizer(donor)
    rows = TokenRows.of(old, new, spec.spec.sizes[_VOCAB], _embeddings(donor))
    config, lost = _config(checkpoint.config, donor, old, new, rows.count)
    receipt = VocabularyReceipt.of(
        rows, checkpoint, str(folder), str(tokenizer), along, lost
    )
    with new_folder(out) as beside:
        _write_weights(beside, checkpoint, spec, along, rows, shard_bytes)
        receipt = receipt.after(time.perf_counter() - start)
        _write_files(beside, checkpoint, donor, config, receipt)
    return receipt


def _along_vocabulary(spec):
    """Names of the tensors whose first axis is the vocabulary."""
    found = []
    for layout in spec.layouts.values():
        axes = spec.spec.variables[layout.parts[0].path].axes
        places = [i for i, a in enumerate(axes) if _VOCAB in a.dims]
        if places:
            if places != [0] or len(layout.parts) > 1:
                raise GrowthError(
                    "The vocabulary is the first axis of a tensor of its own. "
                    f"Received: {layout.name!r} with the axes '{axes}'"
                )
            found.append(layout.name)
    if not found:
        raise GrowthError(
            "The folder's model has no tensor along a vocabulary. Received: "
            f"model_type={spec.config.get('model_type')!r}"
        )
    return found


def _embeddings(donor):
    """The embeddings of the tokenizer's own model, or `None` without one."""
    if not any(donor.glob("*.safetensors")):
        return None
    checkpoint = open_checkpoint(donor)
    table = table_of(checkpoint.config)
    for name, tensor in checkpoint.tensors.items():
        rule, *_ = table.find(name)
        axes = Axes.parse(rule) if isinstance(rule, str) else None
        if axes and len(axes) == 2 and axes.axes[0].dims == (_VOCAB,):
            return tensor.read().astype(np.float32)
    return None


def _config(config, donor, old, new, count):
    """The config with the new size and the new numbers of special tokens, and
    the fields whose token the new tokenizer lacks."""
    found, lost = {**config, "vocab_size": count}, []
    theirs = {}
    if (donor / CONFIG).is_file():
        theirs = json.loads((donor / CONFIG).read_text("utf-8"))
    for field, value in config.items():
        if not field.endswith("_token_id") or value is None:
            continue
        several = isinstance(value, list)
        tokens = [old.id_to_token(i) for i in (value if several else [value])]
        numbers = [new.token_to_id(t) if t else None for t in tokens]
        if None not in numbers:
            found[field] = numbers if several else numbers[0]
            continue
        found[field] = theirs.get(field)
        if found[field] is None:
            lost.append(field)
    return found, lost


def _write_weights(folder, checkpoint, spec, along, rows, shard_bytes):
    tensors = [
        NewTensor(
            t.name,
            t.dtype,
            (rows.count, *t.shape[1:]) if t.name in along else t.shape,
        )
        for t in spec.layouts.values()
    ]
    shards = divide(tensors, shard_bytes)
    for name, shard in shards.items():
        with new_shard(folder / name, shard, checkpoint.metadata) as file:
            for tensor in shard:
                stored = checkpoint.tensors[tensor.name]
                if tensor.name not in along:
                    append_copy(file, stored)
                    continue
                made = rows.apply(stored.read())
                append_array(file, made.astype(DTYPES[tensor.dtype]))
    write_index(folder, shards)


def _write_files(folder, checkpoint, donor, config, receipt):
    theirs = [p.name for p in sorted(donor.iterdir()) if _is_tokenizers(p)]
    own = [n for n in checkpoint.carried if not _is_tokenizers_name(n)]
    # It has numbers of tokens, which are others now.
    own = [n for n in own if n != "generation_config.json"]
    for place, names in ((checkpoint.folder, own), (donor, theirs)):
        for name in names:
            (folder / name).write_bytes((place / name).read_bytes())
    _write_json(folder / CONFIG, config)
    _write_json(folder / RECEIPT, receipt.as_dict())
    text = card(
        kept_metadata(checkpoint.folder),
        f"A {config['model_type']} with another vocabulary",
        f"Made by kgrow from `{receipt.source}` with the tokenizer of\n"
        f"`{receipt.tokenizer}`. It has not been trained since, and computes "
        "something else\nthan before.",
        "\n".join(f"- {line}" for line in receipt.lines()),
    )
    (folder / "README.md").write_text(text, "utf-8")


def _is_tokenizers(path):
    return path.is_file() and _is_tokenizers_name(path.name)


def _is_tokenizers_name(name):
    path = pathlib.PurePath(name)
    return any(path.match(pattern) for pattern in _TOKENIZER_FILES)


def _write_json(path, content):
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
