"""State of layers that no plan maps, carried into the grown network.

Random states, metrics, statistics that `adapt()` computed, vocabularies. They
are read and written with the methods by which Keras saves a layer to a file.
"""

from __future__ import annotations

import tempfile

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.lazy_variables import initialize
from kgrow.backend.random import seed_states, set_seed_states
from kgrow.backend.scopes import relative_to

_ASSETS = ("save_assets", "load_assets")
_OWN = ("save_own_variables", "load_own_variables")


def carry_layer_state(
    network: keras.Model, old: keras.Model, plan: Plan
) -> None:
    """Gives the layers of a grown network the state that no plan maps.

    Args:
        network: the grown network, its weights filled.
        old: the network before.
        plan: `Plan` from the one to the other.

    Raises:
        GrowthError: a layer keeps state of its own that is bound to sizes
            which grow.
    """
    pairs = _pairs(network, old, plan)
    _carry_flags(network, old, plan, pairs)
    set_seed_states(network, seed_states(old))
    initialize(network.variables)
    for layer, source, same in [(network, old, True), *pairs]:
        if same:
            _carry_seeds(layer, source)
            _carry_metrics(layer, source)
        _carry_hooks(layer, source)
    backend.register_parameters(network)


def carry_flags(network: keras.Model, old: keras.Model, plan: Plan) -> None:
    """Gives a grown network the flags by which a user has frozen the old one,
    and nothing else; see `carry_layer_state()`."""
    _carry_flags(network, old, plan, _pairs(network, old, plan))


def stateful_layer(network: keras.Model) -> keras.layers.Layer | None:
    """A layer that keeps more than variables, which its computation may have
    as constants; `None` if there is none."""
    for layer in _layers(network):
        if isinstance(layer, keras.Model):
            continue
        finalizes = hasattr(layer, "finalize_state")
        if finalizes or _defines(layer, *_ASSETS) or _holds_more(layer):
            return layer
    return None


def _carry_flags(network, old, plan, pairs):
    """Layers that a user froze stay frozen, and so do their copies."""
    # A layer's flag sets those inside it, which come after it.
    for layer, source in [(network, old), *(pair[:2] for pair in pairs)]:
        layer.trainable = source.trainable
    flags = {relative_path(old, w): w.trainable for w in grown_weights(old)}
    for weight in grown_weights(network):
        reads = plan.reads(relative_path(network, weight))
        if reads:
            weight.trainable = flags[reads[0]]


def _pairs(network, old, plan):
    """`[(layer, old layer that it continues, whether it is the same one)]`."""
    layers, olds = _layers(network), _layers(old)
    if [type(layer) for layer in layers] == [type(layer) for layer in olds]:
        # By position, as Keras may have made the names up.
        return [(*both, True) for both in zip(layers, olds, strict=True)]
    by_path = {_layer_path(old, layer): layer for layer in olds}
    origin, pairs = _origins(plan), []
    for layer in layers:
        path = _layer_path(network, layer)
        same = by_path.get(path)
        source = by_path.get(origin.get(path, path), same)
        if source is not None:
            pairs.append((layer, source, source is same))
    return pairs


def _layers(network):
    return network._flatten_layers(include_self=False)


def _layer_path(network, layer):
    return relative_to(network, layer.path or layer.name)


def _origins(plan):
    """`{path of a grown layer: path of the old layer it comes from}`."""
    origins = {}
    for path in plan.target.variables:
        reads = plan.reads(path)
        if not reads:
            continue
        new, old = path.split("/"), reads[0].split("/")
        for depth in range(1, len(new)):
            origins["/".join(new[:depth])] = "/".join(old[:depth])
    return origins


def _carry_seeds(layer, source):
    generators = layer._seed_generators, source._seed_generators
    if len(generators[0]) == len(generators[1]):
        for new, old in zip(*generators, strict=True):
            _copy(old.state, new.state)


def _carry_metrics(layer, source):
    """Metrics keep their state. One whose shape grows, or that has no state
    yet, is reset, as every metric is at the end of an epoch."""
    if len(layer._metrics) != len(source._metrics):
        return
    for new, old in zip(layer._metrics, source._metrics, strict=True):
        initialize(new.variables)
        if [v.shape for v in new.variables] == [v.shape for v in old.variables]:
            for variable, value in zip(
                new.variables, old.variables, strict=True
            ):
                _copy(value, variable)


def _copy(old, new):
    # JAX shares the array otherwise, and a step that is given both variables,
    # as with a teacher, would donate it twice.
    new.assign(keras.ops.copy(old.value))


def _carry_hooks(layer, source):
    if type(layer) is not type(source) or isinstance(layer, keras.Model):
        return
    if _defines(layer, *_ASSETS):
        with tempfile.TemporaryDirectory() as folder:
            source.save_assets(folder)
            layer.load_assets(folder)
    if _holds_more(source):
        _carry_store(layer, source)
    elif hasattr(layer, "finalize_state"):
        layer.finalize_state()


def _holds_more(layer):
    """Whether a layer's hooks save or load more than its variables."""
    if not _defines(layer, *_OWN) or not layer.built:
        return False
    if not _of_keras(layer, "load_own_variables"):
        return True
    if _own_variables(layer):
        # Keras' own layers save their weights here, which the plan maps.
        return False
    store = {}
    layer.save_own_variables(store)
    return bool(store)


def _carry_store(layer, source):
    own = _own_variables(layer)
    shapes = [v.shape for v in own], [v.shape for v in _own_variables(source)]
    if shapes[0] != shapes[1]:
        raise GrowthError(
            f"The layer {source.name!r} keeps state of its own, by its "
            "`save_own_variables()` and `load_own_variables()`, and its sizes "
            "would change. Keep the sizes that it depends on, or hold that "
            f"state in weights. Received: {type(source).__name__} of shapes "
            f"{shapes[1]}, to be {shapes[0]}"
        )
    values = [keras.ops.copy(v.value) for v in own]
    store = {}
    source.save_own_variables(store)
    layer.load_own_variables(store)
    # Loading overwrote the weights; restore the grown values.
    for variable, value in zip(own, values, strict=True):
        variable.assign(value)


def _own_variables(layer):
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _defines(layer, *names):
    default = keras.layers.Layer
    return any(
        getattr(type(layer), name, None) is not getattr(default, name, None)
        for name in names
    )


def _of_keras(layer, name):
    return getattr(type(layer), name).__module__.startswith("keras.")
