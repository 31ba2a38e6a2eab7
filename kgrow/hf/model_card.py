"""Model cards: the `README.md` of grown checkpoints."""

import re

_HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
# Of the old card's metadata, what holds for the grown model as well.
_KEPT = ("license", "license_name", "license_link", "language", "library_name")


def card(metadata, title, *paragraphs):
    """A card as hubs read it: metadata between bars, then Markdown.

    Args:
        metadata: list of strings, lines of YAML without tags.
        title: string.
        *paragraphs: strings, Markdown.

    Example:

    >>> print(card(["license: mit"], "Grown", "From a smaller one."))
    ---
    license: mit
    tags:
    - kgrow
    ---
    <BLANKLINE>
    # Grown
    <BLANKLINE>
    From a smaller one.
    <BLANKLINE>
    """
    head = "\n".join(["---", *metadata, "tags:", "- kgrow", "---"])
    return "\n\n".join([head, f"# {title}", *paragraphs]) + "\n"


def model_card(folder, receipt):
    """The card of a folder of safetensors that `kgrow.hf` grew.

    Args:
        folder: `pathlib.Path` of the folder that grew.
        receipt: `FolderReceipt`.
    """
    kept = "is meant to be kept" if receipt.exact else "is not kept"
    return card(
        kept_metadata(folder),
        f"A grown {receipt.architecture}",
        f"Grown by kgrow from `{receipt.source}` with\n`{receipt.strategy}`, "
        f"seed {receipt.seed}. It has not been trained since.",
        size_table(receipt),
        f"The function of the smaller model {kept}:",
        claim_list(receipt),
        "`kgrow_receipt.json` holds the same as data.",
    )


def size_table(receipt):
    """The sizes that a growth changed, as a table of Markdown.

    Args:
        receipt: `FolderReceipt`, or a `kgrow.Receipt`.
    """
    before, after = receipt.parameters_before, receipt.parameters_after
    sizes = [
        (f"`{field}`", receipt.source_config.get(field), new)
        for field, new in receipt.target_config.items()
        if receipt.source_config.get(field) != new
    ]
    rows = [
        ("field", "before", "after"),
        ("---",) * 3,
        *sizes,
        ("parameters", f"{before:,}", f"{after:,}"),
    ]
    return "\n".join("| {} | {} | {} |".format(*row) for row in rows)


def claim_list(receipt):
    """What a growth claims of each dimension, as a list of Markdown.

    Args:
        receipt: as for `size_table()`.
    """
    return "\n".join(
        f"- {dim}: {reason}" for dim, reason in receipt.claims.items()
    )


def kept_metadata(folder):
    """Lines of a folder's card that hold for a grown model as well."""
    path = folder / "README.md"
    if not path.is_file():
        return []
    head = _HEAD.match(path.read_text("utf-8", errors="replace"))
    kept, keeps = [], False
    for line in head[1].splitlines() if head else ():
        if not line.startswith((" ", "-")):
            keeps = line.partition(":")[0] in _KEPT
        if keeps:
            kept.append(line)
    return kept
