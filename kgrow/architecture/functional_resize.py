"""The config of a Functional or Sequential model, resized.

Such a model has no size fields: its sizes are in its layers (`units`,
`filters`, `num_heads`, ...). Which field of a layer sets which axis is found by
trying: the layer alone is built with one field doubled, and the axes that
double are the ones it sets. No table of layers is needed.
"""

import copy
from fractions import Fraction

import keras

from kgrow.algebra.errors import GrowthError


def resized_layer_config(network, spec, sizes):
    """The network's config with new sizes in its layers.

    Args:
        network: a built Functional or Sequential model.
        spec: its `ModelSpec`.
        sizes: dict from dim names to new sizes.

    Raises:
        GrowthError: no field of a layer sets an axis that grows.
    """
    config = copy.deepcopy(network.get_config())
    by_variable = {id(w): path for w, path in _paths(network, spec)}
    for entry in config["layers"]:
        name = entry["config"]["name"]
        if not any(layer.name == name for layer in network.layers):
            continue
        layer = network.get_layer(name)
        # The resized layer is built for another shape.
        entry.pop("build_config", None)
        wanted = [
            _ratios(spec.variables[by_variable[id(w)]], spec.sizes, sizes)
            for w in layer.weights
        ]
        if any(r != 1 for ratios in wanted for r in ratios):
            _resize(layer, entry["config"], wanted)
    config.pop("build_input_shape", None)
    return config


def _paths(network, spec):
    return zip(network.weights, spec.variables, strict=True)


def _ratios(variable, old, new):
    """By how much each axis of a variable is to grow."""
    ratios = []
    for axis in variable.axes:
        ratio = Fraction(1)
        for dim in axis.dims:
            ratio *= Fraction(new.get(dim, old[dim]), old[dim])
        ratios.append(ratio)
    return ratios


def _resize(layer, config, wanted):
    """Changes in `config` the fields that set growing axes."""
    original = copy.deepcopy(config)
    for place in _integer_fields(original):
        moved = _axes_set_by(layer, original, place)
        if not moved:
            continue
        ratios = {wanted[weight][axis] for weight, axis in moved}
        if len(ratios) > 1:
            raise GrowthError(
                f"`{place[0]}` of the layer {layer.name!r} sets axes that are "
                "to grow by different ratios: "
                f"{', '.join(map(str, sorted(ratios)))}."
            )
        ratio = ratios.pop()
        value = _get(original, place) * ratio
        if value.denominator != 1:
            raise GrowthError(
                f"`{place[0]}` of the layer {layer.name!r} would have to "
                f"become {value}, which is no integer."
            )
        _set(config, place, int(value))


def _integer_fields(config):
    """Places of integers in a layer's config: `(key,)` or `(key, index)`."""
    places = []
    for key, value in config.items():
        if isinstance(value, int) and not isinstance(value, bool):
            places.append((key,))
        elif isinstance(value, (list, tuple)):
            places += [
                (key, i)
                for i, v in enumerate(value)
                if isinstance(v, int) and not isinstance(v, bool)
            ]
    return [p for p in places if _get(config, p) > 0]


def _axes_set_by(layer, config, place):
    """`{(weight, axis), ...}` that double with the integer at `place`."""
    changed = copy.deepcopy(config)
    _set(changed, place, 2 * _get(config, place))
    try:
        with keras.StatelessScope(initialize_variables=False):
            twin = type(layer).from_config(changed)
            twin.build_from_config(layer.get_build_config())
    except Exception:
        # A field that cannot be doubled alone (an axis, a rank) sets no size.
        return set()
    if len(twin.weights) != len(layer.weights):
        return set()
    return {
        (i, axis)
        for i, (old, new) in enumerate(
            zip(layer.weights, twin.weights, strict=True)
        )
        if len(old.shape) == len(new.shape)
        for axis in range(len(old.shape))
        if new.shape[axis] == 2 * old.shape[axis]
    }


def _get(config, place):
    value = config[place[0]]
    return value[place[1]] if len(place) > 1 else value


def _set(config, place, value):
    if len(place) == 1:
        config[place[0]] = value
        return
    values = list(config[place[0]])
    values[place[1]] = value
    config[place[0]] = values
