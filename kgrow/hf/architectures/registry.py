"""Tables by the `model_type` that a config names."""

from kgrow.algebra.errors import GrowthError

_TABLES = {}


def register(*model_types):
    """Decorator: a function from a config to a `TensorTable` serves folders
    whose `config.json` names one of these model types.

    Args:
        model_types: strings.

    Example:

    >>> @register("mine")
    ... def mine(config):
    ...     return table_of({**config, "model_type": "llama"})
    >>> "mine" in model_types()
    True
    >>> del _TABLES["mine"]
    """

    def add(function):
        for name in model_types:
            _TABLES[name] = function
        return function

    return add


def model_types():
    """All model types that have a table, sorted."""
    return sorted(_TABLES)


def table_of(config):
    """The `TensorTable` of a config.

    Raises:
        GrowthError: the config's model type has none.
    """
    name = config.get("model_type")
    if name not in _TABLES:
        raise GrowthError(
            "There is no table of axes for this `model_type`. Received: "
            f"{name!r}. There are: {', '.join(model_types())}. "
            "`kgrow.hf.register` takes another one."
        )
    return _TABLES[name](config)
