"""Fields of a config that say something of every block."""

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap


def grow_per_block_fields(config, table, plan):
    """Gives each new block the entry of the block that it copies, in place.

    `"layer_types"` says which blocks see a window only. A copy of such a block
    computes what the block does only if it sees the same window.

    Args:
        config: dict, the config after growing.
        table: `TensorTable`.
        plan: `Plan`.

    Raises:
        GrowthError: a new block copies no old one, and there are several
            kinds.
    """
    for field in table.per_block:
        entries = config.get(field)
        if not entries:
            continue
        for stack in table.stacks:
            mixing = plan.terms[0].depths.get(stack.name)
            if mixing is not None and len(entries) == mixing.source:
                config[field] = [
                    _entry(field, entries, mixing.rows, block)
                    for block in range(mixing.target)
                ]


def _entry(field, entries, rows, block):
    kinds = set(map(str, entries))
    if len(kinds) == 1:
        return entries[0]
    if isinstance(rows, GatherMap) and rows.indices[block] != UNWRITTEN:
        return entries[int(rows.indices[block])]
    raise GrowthError(
        f"`{field}` has several kinds of blocks, and new block {block} copies "
        "none. Choose a strategy whose new blocks are copies, as 'identity' or "
        f"'stack'. Received: {field}={entries}"
    )
