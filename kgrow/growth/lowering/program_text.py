"""Figures read from the text of an optimised program, which JAX does not give.

The text is XLA's HLO, one operation a line:

    %name = f32[8,16]{1,0:T(8,128)} all-reduce(f32[8,16]{1,0} %other), ...
"""

from __future__ import annotations

import collections
import math
import re

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
# A tile of memory is written into the layout, which has braces of its own.
_LAYOUT = re.compile(r"\{[^{}]*\}")
_COLLECTIVE = re.compile(
    rf"= (?P<result>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\("
)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_AGAIN = re.compile(r"^\s*(?:ROOT )?%?[\w.-]*\.remat[\w.]* =", re.M)
_KERNEL = re.compile(r'custom_call_target="(tpu_custom_call|__cudnn\$fmha\w*)"')


def collectives(text: str) -> list[tuple[str, int, list[tuple[int, ...]]]]:
    """The transfers between devices in a program.

    Args:
        text: string, the program's HLO.

    Returns:
        list of `(kind, bytes, shapes)` of the result on each device.

    Example:

    >>> collectives("%a = (f32[2,3]{1,0}, bf16[4]{0:T(128)}) all-reduce(%b)")
    [('all-reduce', 32, [(2, 3), (4,)])]
    >>> collectives("%a = (f32[2]{0}, f32[8]{0}) all-gather-start(%b)")
    [('all-gather', 32, [(8,)])]
    """
    found = []
    for line in text.splitlines():
        match = _COLLECTIVE.search(line) if "= " in line else None
        if match is None:
            continue
        arrays = _arrays(match["result"])
        if match["start"] and match["kind"] != "all-reduce":
            # Operands come first; a transfer's numbers, without shape, last.
            arrays = [array for array in arrays if array[1]]
            arrays = arrays[len(arrays) // 2 :]
        size = sum(count for count, _ in arrays)
        found.append((match["kind"], size, [shape for _, shape in arrays]))
    return found


def _arrays(result):
    """`[(bytes, shape), ...]` of the arrays in a result."""
    found = []
    for name, bits, sizes in _ARRAY.findall(_LAYOUT.sub("", result)):
        shape = tuple(int(size) for size in sizes.split(",") if size)
        width = 1 if name == "pred" else max(1, int(bits) // 8)
        found.append((width * math.prod(shape), shape))
    return found


def cycles(text: str) -> int | None:
    """The sum of the compiler's estimates of cycles, or `None` without any.

    Example:

    >>> cycles('{"estimated_cycles":"12"} {"estimated_cycles":"3"}'), cycles("")
    (15, None)
    """
    found = _CYCLES.findall(text)
    return sum(map(int, found)) if found else None


def recomputed(text: str) -> int:
    """How many values are rematerialized, to save memory.

    Example:

    >>> recomputed("%fusion.3 = f32[2] a(%b)\\n  %c.remat2 = f32[2] a(%b)")
    1
    """
    return len(_AGAIN.findall(text))


def kernels(text: str) -> dict[str, int]:
    """`{name: calls}` of hand-written kernels (Pallas, cuDNN attention).

    Example:

    >>> kernels('custom-call(%a), custom_call_target="tpu_custom_call"')
    {'tpu_custom_call': 1}
    """
    return dict(collections.Counter(_KERNEL.findall(text)))
