"""The `README.md` of a grown folder."""

import re

_HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
# Of the old card's metadata, what holds for the grown model as well.
_KEPT = ("license", "license_name", "license_link", "language", "library_name")


def model_card(folder, receipt):
    """A model card: metadata as hubs read it, and what was done.

    Args:
        folder: `pathlib.Path` of the folder that grew.
        receipt: `FolderReceipt`.
    """
    rows = "\n".join(
        f"| `{field}` | {receipt.source_config[field]} | {new} |"
        for field, new in receipt.target_config.items()
    )
    kept = "is meant to be kept" if receipt.exact else "is not kept"
    reasons = "\n".join(
        f"- {dim}: {reason}" for dim, reason in receipt.claims.items()
    )
    head = "\n".join([*_kept_metadata(folder), "tags:", "- kgrow"])
    return f"""---
{head}
---

# A grown {receipt.architecture}

Grown by [kgrow](https://pypi.org/project/kgrow/) from `{receipt.source}` with
`{receipt.strategy}`, seed {receipt.seed}. It has not been trained since.

| field | before | after |
|---|---|---|
{rows}
| parameters | {receipt.parameters_before:,} | {receipt.parameters_after:,} |

The function of the smaller model {kept}:

{reasons}

`kgrow_receipt.json` holds the same as data.
"""


def _kept_metadata(folder):
    """Lines of the old card's metadata, with the lists below them."""
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
