"""The growth state in a file: its encoding, its version, its schema.

It is plain data, as JSON in an array of bytes. One schema checks it when it is
written and when it is read: whatever is saved can be loaded, and nothing is
built or changed for an invalid state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, NoReturn, get_type_hints

import numpy as np

from kgrow.algebra.errors import FileError, GrowthError
from kgrow.algebra.plain_data import plain
from kgrow.algebra.scalar_checks import LARGEST_COUNT, LARGEST_SEED
from kgrow.algebra.types import Array
from kgrow.growth.receipt import Receipt
from kgrow.growth.saving.upgrades import upgraded

# Increased when older code cannot read new files.
VERSION = 2


def pack(state: Mapping[str, Any]) -> np.ndarray:
    """Encodes the state as an array of bytes.

    To be called before the file is opened, as it may raise.

    Args:
        state: dict, see `growth_state.state_of()`.

    Returns:
        `uint8` array of shape `(bytes,)`.

    Raises:
        GrowthError: `unpack()` would refuse it.

    Example:

    >>> import kgrow
    >>> from kgrow.growth.saving.growth_state import state_of
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> pack(state_of(model))[:8].tobytes()
    b'{"versio'
    """
    state = plain({"version": VERSION, **state}, "growth state")
    try:
        _STATE(state, "growth state")
    except FileError as error:
        raise GrowthError(
            "The model cannot be saved: no file of it could be read again. "
            f"{error}"
        ) from error
    return np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)


def unpack(array: Array) -> dict[str, Any]:
    """Decodes a state that `pack()` encoded.

    Args:
        array: returned by `pack()`; or a tensor of it.

    Returns:
        dict of valid entries, in the present version.

    Raises:
        FileError: it is something else, incomplete, or of a newer version.

    Example:

    >>> try:
    ...     unpack(np.frombuffer(b'{"versi', np.uint8))
    ... except FileError as error:
    ...     print(str(error)[:42])
    The growth state of the file cannot be rea
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise FileError(
            "The growth state of a file is a vector of bytes (uint8). "
            f"Received: an array of {array.dtype}, shape {array.shape}. Load "
            "another file."
        )
    try:
        state = json.loads(array.tobytes())
    except (ValueError, RecursionError) as error:
        raise FileError(
            "The growth state of the file cannot be read; the file is not "
            f"whole, or was changed. Load another one. Received: {error}"
        ) from None
    _check_version(state)
    state = upgraded(state)
    _STATE(state, "growth state")
    return state


def check_masks(
    masks: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]
) -> None:
    """Checks that masks fit their variables.

    Args:
        masks: dict, see `kgrow.growth.freezing.to_config()`.
        shapes: `{path: shape}`.

    Raises:
        FileError: there is no such variable, or an entry lies outside.
    """
    for path, mask in masks.items():
        shape = shapes.get(path)
        if shape is None:
            _refuse("masks", "paths of the network's variables", path)
        if mask is True:
            continue
        if "flat" in mask:
            axes, shape = [mask["flat"]], [math.prod(shape)]
        else:
            axes = mask["axes"]
        if len(axes) != len(shape):
            _refuse(path, f"a mask of {len(shape)} axes", mask)
        for runs, size in zip(axes, shape, strict=True):
            if runs and runs[-1][1] > size:
                _refuse(path, f"a mask that ends at {size}", mask)


def _check_version(state):
    _mapping(_anything)(state, "growth state")
    version = state.get("version")
    _whole(1)(version, "version")
    if version > VERSION:
        raise FileError(
            f"The file was written by a newer version of kgrow, in form "
            f"{version}, and this one reads forms up to {VERSION}. Update "
            f"kgrow. Received: version={version}"
        )


# Checks: functions of a value and of its place in the state, which raise.


def _refuse(where: str, expected: str, value: Any) -> NoReturn:
    text = repr(value)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    raise FileError(
        f"The growth state of the file makes no sense: `{where}` must be "
        f"{expected}. The file was changed, or is of something else; load "
        f"another one. Received: {text}"
    )


def _anything(value, where):
    del value, where


def _text(value, where):
    if not isinstance(value, str):
        _refuse(where, "a string", value)


def _flag(value, where):
    if not isinstance(value, bool):
        _refuse(where, "true or false", value)


def _whole(least, largest=LARGEST_COUNT):
    def check(value, where):
        number = isinstance(value, int) and not isinstance(value, bool)
        if not number or not least <= value <= largest:
            _refuse(where, f"an integer from {least} to {largest}", value)

    return check


def _number(least=-math.inf, largest=math.inf, finite=True):
    def check(value, where):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (finite and not _within(value, least, largest)):
            _refuse(where, f"a number from {least} to {largest}", value)

    return check


def _within(value, least, largest):
    # An integer may be too large for a float.
    return abs(value) <= 1e300 and least <= value <= largest


def _maybe(check_value):
    def check(value, where):
        if value is not None:
            check_value(value, where)

    return check


def _list(check_entry, length=None):
    def check(value, where):
        if not isinstance(value, list):
            _refuse(where, "a list", value)
        if length is not None and len(value) != length:
            _refuse(where, f"a list of {length}", value)
        for i, entry in enumerate(value):
            check_entry(entry, f"{where}[{i}]")

    return check


def _mapping(check_entry):
    def check(value, where):
        if not isinstance(value, dict):
            _refuse(where, "a dict", value)
        for key, entry in value.items():
            check_entry(entry, f"{where}[{key!r}]")

    return check


def _record(checks, optional=()):
    """A dict of exactly these fields."""

    def check(value, where):
        if not isinstance(value, dict):
            _refuse(where, "a dict", value)
        missing = [k for k in checks if k not in value and k not in optional]
        unknown = [key for key in value if key not in checks]
        if missing or unknown:
            _refuse(
                where,
                f"a dict of {sorted(checks)}",
                {"missing": missing, "unknown": unknown},
            )
        for key, entry in value.items():
            checks[key](entry, key)

    return check


def _size(value, where):
    """An integer, or a list of them, one per stage."""
    if isinstance(value, list):
        _list(_whole(0))(value, where)
    else:
        _whole(0)(value, where)


def _option(value, where):
    """A training option: one number, flag or string."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _number()(value, where)
    elif value is not None and not isinstance(value, (bool, str)):
        _refuse(where, "one number, flag or string", value)


def _span(value, where):
    _list(_whole(0), 2)(value, where)
    if not value[0] < value[1]:
        _refuse(where, "[start, stop], not empty", value)


def _runs(value, where):
    """Spans in order, which do not overlap."""
    _list(_span)(value, where)
    for (_, stop), (start, _) in zip(value, value[1:], strict=False):
        if start < stop:
            _refuse(where, "spans one behind the other", value)


def _mask(value, where):
    if value is True:
        return
    if isinstance(value, dict) and "flat" in value:
        _record({"flat": _runs})(value, where)
    else:
        _record({"axes": _list(_runs)})(value, where)


def _shape_of_ramp(value, where):
    # A dict is a function of the user, serialized by Keras.
    if not isinstance(value, dict):
        _text(value, where)


def _gates(value, where):
    _list(_gate)(value, where)
    taken = {}
    for gate in value:
        for dim, span in gate["units"].items():
            taken.setdefault(dim, []).append(span)
        for stack, blocks in gate["blocks"].items():
            spans = [[block, block + 1] for block in blocks]
            taken.setdefault(stack, []).extend(spans)
    for name, spans in taken.items():
        _runs(sorted(spans), f"{where} of {name!r}")


def _sizes_of_receipt(value, where):
    _mapping(_size)(value, where)


def _learned(value, where):
    """Figures of a learned phase: the entries that a receipt prints."""
    _mapping(_anything)(value, where)
    for name in ("loss_before", "loss_after"):
        _number(finite=False)(value.get(name), f"{where}[{name!r}]")
    _whole(0)(value.get("steps"), f"{where}['steps']")
    _mapping(_number(finite=False))(value.get("moved"), f"{where}['moved']")


# Entries of a receipt whose check is stricter than their type.
_OF_RECEIPT = {
    "source_config": _sizes_of_receipt,
    "target_config": _sizes_of_receipt,
    "seed": _whole(0, LARGEST_SEED),
    "learned": _maybe(_learned),
}


def _receipt(value, where):
    _fields_of_receipt(value, where)
    before, after = value.get("loss_before"), value.get("loss_after")
    if (before is None) != (after is None):
        _refuse(where, "losses before and after, or neither", value)


def _kinds_of_receipt():
    kinds = {
        str: _text,
        dict[str, Any]: _mapping(_anything),
        dict[str, str]: _mapping(_text),
        # A loss may be anything.
        float: _number(finite=False),
        int: _whole(0),
        bool: _flag,
        int | None: _maybe(_whole(0)),
        float | None: _maybe(_number(finite=False)),
        dict[str, Any] | None: _maybe(_mapping(_anything)),
        dict[str, float] | None: _maybe(_mapping(_number(finite=False))),
    }
    types = get_type_hints(Receipt)
    return _record(
        {
            f.name: _OF_RECEIPT.get(f.name) or kinds[types[f.name]]
            for f in fields(Receipt)
        },
        [f.name for f in fields(Receipt) if f.default is not MISSING],
    )


_fields_of_receipt = _kinds_of_receipt()
_gate = _record(
    {
        "ramp": _record({"steps": _whole(0), "shape": _shape_of_ramp}),
        "units": _mapping(_span),
        "blocks": _mapping(_list(_whole(0))),
    }
)
_update_scale = _record(
    {
        "start": _whole(0),
        "new": _number(0),
        "old": _number(0),
        "steps": _maybe(_whole(1)),
        "known": _mapping(_mask),
        "olds": _mapping(_mask),
    }
)
_teacher = _record(
    {
        "sizes": _mapping(_size),
        "gates": _gates,
        "settings": _record(
            {
                "weight": _number(0, 1),
                "steps": _whole(1),
                "temperature": _number(1e-6),
            }
        ),
    }
)
_STATE = _record(
    {
        "version": _whole(1),
        "config": _mapping(_size),
        "variables": _mapping(_list(_whole(0))),
        "frozen": _mapping(_mask),
        "update_scales": _list(_update_scale),
        "rate_factors": _mapping(_number(0)),
        "gates": _gates,
        "training_options": _mapping(_option),
        "untrainable": _record(
            {"layers": _list(_whole(0)), "weights": _list(_whole(0))}
        ),
        "seeds": _mapping(_list(_whole(-(2**63), 2**63 - 1), 2)),
        "history": _list(_receipt),
        "teacher": _maybe(_teacher),
        "optimizer": _maybe(
            _record({"classes": _list(_text), "variables": _whole(0)})
        ),
        "callbacks": _mapping(_anything),
    }
)
