"""Growth states of older forms, brought to the present one.

One function a version; each takes the state of its form to the next, so that
a file of any earlier form is read by the one schema of `state_schema`.
"""

_NAMES_OF_FORM_2 = {
    "paces": "update_scales",
    "treatments": "training_options",
}


def _from_1(state):
    """Form 2 has the names of the public interface, and rate factors."""
    renamed = {_NAMES_OF_FORM_2.get(key, key): state[key] for key in state}
    return {**renamed, "rate_factors": {}}


_STEPS = {1: _from_1}


def upgraded(state):
    """The state in the present form.

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
