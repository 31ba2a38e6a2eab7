"""The settings that a run was started with, to tell it from others."""

import json

from kgrow.algebra.errors import GrowthError
from kgrow.growth.optimizer.slots import nested
from kgrow.growth.update_scale import steps_taken

# Keras makes up names, and counts them.
_NO_SETTING = ("name",)


def origin_of(model):
    """Sizes, and the optimizer with its settings, as JSON can hold them.

    Args:
        model: compiled `GrowableModel`.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("sgd")
    >>> origin_of(model)["optimizers"][0]["class"]
    'SGD'
    """
    optimizer = getattr(model, "optimizer", None)
    optimizers = [] if optimizer is None else nested(optimizer)
    return {
        "sizes": dict(model.growth_config),
        "optimizers": [
            {"class": type(each).__name__, "settings": _settings(each)}
            for each in optimizers
        ],
        "begun": steps_taken(model) > 0 or bool(model.growth_history),
    }


class OriginError(GrowthError):
    """A backup that is whole, and of another run.

    Example:

    >>> issubclass(OriginError, GrowthError)
    True
    """


def check_origin(own, found):
    """Raises if a backup is of a run that was started otherwise.

    Of a model that has been trained or grown since it was made, sizes and
    the learning rate are not known any more, and not compared.

    Args:
        own: what `origin_of()` says of the model before the backup is read.
        found: what it said of the run of the backup.

    Raises:
        OriginError: it names what is different.
    """
    differences = list(_differences(own, found))
    if differences:
        raise OriginError(
            "The backup is of a run that was started otherwise, and going on "
            "would silently take what it has. Start the run as it was, give "
            "another folder, or delete the backup to begin anew. Received: "
            + "; ".join(differences)
        )


def _differences(own, found):
    begun = own["begun"] or found["begun"]
    if not begun:
        yield from _entries("sizes", own["sizes"], found["sizes"])
    kinds = [
        [each["class"] for each in origin["optimizers"]]
        for origin in (own, found)
    ]
    if kinds[0] != kinds[1]:
        yield _said("the optimizer", *(" of ".join(k) for k in kinds))
        return
    pairs = zip(own["optimizers"], found["optimizers"], strict=True)
    for one, other in pairs:
        left = (set(one["settings"]) ^ set(other["settings"])) | (
            {"learning_rate"} if begun else set()
        )
        yield from _entries(
            one["class"],
            {k: v for k, v in one["settings"].items() if k not in left},
            {k: v for k, v in other["settings"].items() if k not in left},
        )


def _entries(name, own, found):
    for key in own:
        if key not in found or own[key] != found[key]:
            yield _said(f"{key!r} of {name}", own[key], found.get(key))


def _said(name, own, found):
    return f"{name} is {own!r}, and in the backup {found!r}"


def _settings(optimizer):
    config = {
        key: value
        for key, value in optimizer.get_config().items()
        if key not in _NO_SETTING
    }
    # Of an object of the user's, at least its kind.
    text = json.dumps(config, default=lambda value: type(value).__name__)
    return json.loads(text)
