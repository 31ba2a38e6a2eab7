"""Config fields of networks that a network's config holds.

A network made of others, as CLIP is of two encoders, has their sizes in their
configs. `"vision_encoder.hidden_dim"` names such a size from outside.
"""

import keras


def opened(config):
    """A config, and the integers in the configs of the networks in it.

    Args:
        config: dict as of `get_config()`.

    Returns:
        dict, with fields of networks in it written with a dot.
    """
    found = dict(config)
    for name, value in config.items():
        if _is_network(value):
            for field, size in opened(value["config"]).items():
                if isinstance(size, int) and not isinstance(size, bool):
                    found[f"{name}.{field}"] = size
    return found


def closed(config):
    """The inverse of `opened()`, after some of the fields may have changed.

    Example:

    >>> inner = {"class_name": "Inner", "config": {"units": 4}}
    >>> closed({"inner": inner, "inner.units": 8})
    {'inner': {'class_name': 'Inner', 'config': {'units': 8}}}
    """
    result = {n: value for n, value in config.items() if "." not in n}
    changed = {}
    for name, value in config.items():
        first, dot, rest = name.partition(".")
        if dot:
            changed.setdefault(first, {})[rest] = value
    for name, fields in changed.items():
        inner = closed({**result[name]["config"], **fields})
        result[name] = {**result[name], "config": inner}
    return result


def _is_network(value):
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        return False
    found = keras.saving.get_registered_object(value.get("registered_name"))
    return isinstance(found, type) and issubclass(found, keras.Model)
