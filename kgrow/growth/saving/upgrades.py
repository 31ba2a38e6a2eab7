"""Upgrades growth states of older file versions to the present one.

One function per version converts a state to the next version, so that
`state_schema.py` needs only the schema of the present one.
"""

from __future__ import annotations

from typing import Any

_NAMES_OF_FORM_2 = {
    "paces": "update_scales",
    "treatments": "training_options",
}


def _from_1(state):
    """Version 2 has the names of the public interface, and rate factors."""
    renamed = {_NAMES_OF_FORM_2.get(key, key): state[key] for key in state}
    return {**renamed, "rate_factors": {}}


_STEPS = {1: _from_1}


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """The state in the present version.

    Args:
        state: dict with the `version` it was written in.

    Example:

    >>> upgraded({"version": 1, "treatments": {}})
    {'version': 2, 'training_options': {}, 'rate_factors': {}}
    """
    while state["version"] in _STEPS:
        version = state["version"]
        state = {**_STEPS[version](state), "version": version + 1}
    return state
