"""A folder of safetensors grown into another one."""

import json
import time
from dataclasses import dataclass

from kgrow import strategies
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.hf.architectures import table_of
from kgrow.hf.checkpoint import CONFIG, Checkpoint, open_checkpoint
from kgrow.hf.folder_receipt import FolderReceipt
from kgrow.hf.folder_spec import (
    FolderSpec,
    source_spec,
    target_config,
    target_spec,
)
from kgrow.hf.hub_download import local_folder
from kgrow.hf.model_card import model_card
from kgrow.hf.output_folder import check_new_folder, new_folder
from kgrow.hf.per_block_fields import grow_per_block_fields
from kgrow.hf.shards import (
    SHARD_BYTES,
    NewTensor,
    divide,
    new_shard,
    write_index,
)
from kgrow.hf.tensor_growth import TensorGrowth

RECEIPT = "kgrow_receipt.json"


@dataclass(frozen=True)
class FolderPlan:
    """What growing a folder would do; nothing has been written.

    Attributes:
        checkpoint: `Checkpoint`, the folder.
        source: `FolderSpec` before.
        target: `FolderSpec` after.
        plan: `Plan` from the one to the other.
        claims: tuple of `Claim`s.
    """

    checkpoint: Checkpoint
    source: FolderSpec
    target: FolderSpec
    plan: Plan
    claims: tuple

    @property
    def exact(self):
        return all(claim.exact for claim in self.claims)

    @property
    def tensors(self):
        """The `NewTensor`s of the grown folder."""
        return [
            NewTensor(t.name, t.dtype, t.shape)
            for t in self.target.layouts.values()
        ]

    @property
    def nbytes(self):
        return sum(tensor.nbytes for tensor in self.tensors)


def read_spec(folder):
    """Reads what a folder is made of, from the headers of its files.

    Args:
        folder: as in `grow()`.

    Returns:
        `FolderSpec`.

    Raises:
        FileError: the folder is not whole.
        GrowthError: its tensors are not those of its config.
    """
    checkpoint = open_checkpoint(local_folder(folder))
    return source_spec(checkpoint, table_of(checkpoint.config))


def plan_growth(folder, target, strategy="net2net", seed=0):
    """Plans the growth of a folder, from the headers of its files.

    Args:
        folder: path of a folder with `config.json` and safetensors, or
            `"hf://owner/name"`.
        target: dict from fields of `config.json` to new sizes.
        strategy: as in `GrowableModel.grow()`, one that needs no data.
        seed: int.

    Returns:
        `FolderPlan`.

    Raises:
        FileError: the folder is not whole.
        GrowthError: it cannot be done; nothing has been written.
    """
    strategy = _without_data(strategies.get(strategy))
    checkpoint = open_checkpoint(local_folder(folder))
    table = table_of(checkpoint.config)
    source = source_spec(checkpoint, table)
    config = target_config(source, table, target)
    after = target_spec(source, table, config)
    plan = strategy.plan(source.spec, after.spec, seed)
    if plan.gate is not None:
        raise GrowthError(
            f"{strategy!r} keeps what is new behind a gate, which a folder of "
            "weights has no place for. Choose a strategy that needs none, as "
            "'lemon' or 'llama_pro'."
        )
    grow_per_block_fields(config, table, plan)
    return FolderPlan(
        checkpoint, source, after, plan, tuple(strategy.claims(plan))
    )


def grow(
    folder,
    target,
    strategy="net2net",
    out=None,
    seed=0,
    shard_bytes=SHARD_BYTES,
):
    """Grows a folder of safetensors into another folder, without a framework.

    What `transformers` and other programs load from the new folder is the
    architecture of the old one at another size: `config.json`, weights in
    shards with an index, the files of the tokenizer, a model card, and
    `kgrow_receipt.json`, which says what was done. Tensors are read and written
    one by one, in float32 arithmetic and their own dtype. The new folder is
    there whole or not at all.

    Args:
        folder: path of a folder with `config.json` and safetensors, or
            `"hf://owner/name"`, which `huggingface_hub` downloads.
        target: dict from fields of `config.json` to new sizes.
        strategy: a strategy that needs no data, its name or config, or a
            stacking list.
        out: path of the folder to make.
        seed: int, of what is drawn.
        shard_bytes: int, the most bytes in a file of weights.

    Returns:
        `FolderReceipt`.

    Raises:
        FileError: the folder is not whole, or `out` is there already.
        GrowthError: it cannot be done.
        OSError: the disk is full.

    Example:

    >>> grow("smollm2", {"num_hidden_layers": 40}, "llama_pro",
    ...     out="smollm2-40")  # doctest: +SKIP
    """
    if out is None:
        raise GrowthError("`out` is the folder to make. Received: out=None")
    start = time.perf_counter()
    out = check_new_folder(out)
    strategy = strategies.get(strategy)
    plan = plan_growth(folder, target, strategy, seed)
    with new_folder(out) as beside:
        _write_weights(beside, plan, shard_bytes)
        receipt = FolderReceipt.of(
            plan, repr(strategy), str(folder), time.perf_counter() - start
        )
        _write_text(beside, plan, receipt)
    return receipt


def _without_data(strategy):
    if strategy.needs_data:
        raise GrowthError(
            f"{strategy!r} learns from data, and a folder grows without. "
            "Choose another strategy, or grow the model in Keras."
        )
    return strategy


def _write_weights(folder, plan, shard_bytes):
    growth = TensorGrowth(plan.checkpoint, plan.source, plan.target, plan.plan)
    shards = divide(plan.tensors, shard_bytes)
    for name, shard in shards.items():
        metadata = plan.checkpoint.metadata
        with new_shard(folder / name, shard, metadata) as file:
            for tensor in shard:
                growth.append(file, tensor.name)
    write_index(folder, shards)


def _write_text(folder, plan, receipt):
    for name in plan.checkpoint.carried:
        content = (plan.checkpoint.folder / name).read_bytes()
        (folder / name).write_bytes(content)
    _write_json(folder / CONFIG, plan.target.config)
    _write_json(folder / RECEIPT, receipt.as_dict())
    card = model_card(plan.checkpoint.folder, receipt)
    (folder / "README.md").write_text(card, "utf-8")


def _write_json(path, content):
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
