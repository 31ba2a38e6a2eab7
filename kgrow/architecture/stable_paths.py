"""Names of layers that Keras makes up, the same in every copy of a network.

Keras numbers layers without a name through the whole process, so that the
second network of a class has other names than the first. Growth finds
variables by their paths; here these count anew in every layer.
"""

import collections
import contextlib

from kgrow.backend.keras_internals import global_attribute, set_untracked
from kgrow.backend.scopes import relative_to

_COUNTERS = "object_name_uids"
# Where a network keeps which names in it are made up, and its paths.
_MADE_UP = "growth_made_up_names"
_PATHS = "growth_paths"


@contextlib.contextmanager
def counted_names():
    """Context in which names are numbered from the start.

    Yields:
        function from a network that was made in the context to itself, which
        remembers the names that Keras made up.
    """
    counts = collections.defaultdict(int)

    def remember(network):
        made_up = {
            name if number == 0 else f"{name}_{number}": name
            for name, count in counts.items()
            for number in range(count)
        }
        set_untracked(network, _MADE_UP, made_up)
        return network

    with global_attribute(_COUNTERS, counts):
        yield remember


def remembers(network):
    """Whether it is known which names in a network are made up."""
    return _MADE_UP in vars(network)


def inherit_paths(network, old):
    """Gives a network the paths of one that is made of the same layers.

    A layer inside another has a path that depends on which of the two was
    built first, and a network that is made from its config builds the inner
    one first.
    """
    paths = [stable_path(old, v) for v in old.variables]
    if len(paths) == len(network.variables):
        by_id = dict(zip(map(id, network.variables), paths, strict=True))
        set_untracked(network, _PATHS, by_id)


def stable_path(network, variable, twin=None):
    """A variable's path from the network on, without the network's name.

    Args:
        network: a built `keras.Model`.
        variable: one of its variables.
        twin: optional function without arguments to a network of the same
            config that `counted_names()` remembers, or `None`. The paths are
            those of its variables, in order.
    """
    paths = vars(network).get(_PATHS, {})
    if id(variable) not in paths:
        paths = _paths(network, twin)
        set_untracked(network, _PATHS, paths)
    return paths.get(id(variable)) or _raw(network, variable)


def _paths(network, twin):
    variables = network.variables
    named = {id(v): _raw(network, v) for v in variables}
    other = network
    if not remembers(network):
        other = twin and twin()
        if other is None or _shapes(other) != _shapes(network):
            return named
    raw = [_raw(other, v) for v in other.variables]
    for paths in (raw, _nested(other)):
        renamed = _renamed(paths, vars(other)[_MADE_UP])
        if len(set(renamed)) == len(renamed):
            return dict(zip(named, renamed, strict=True))
    return named


def _nested(network):
    """The paths of a network's variables by the layers that they lie in.

    A layer that is built by hand, before its parent, leaves the parent out of
    its variables' own paths, so that those of two blocks are the same.
    """
    found = {}

    def visit(layer, above):
        for variable in (*layer._trainable_variables, *_fixed(layer)):
            found.setdefault(id(variable), f"{above}{variable.name}")
        for inner in layer._flatten_layers(False, False):
            visit(inner, f"{above}{inner.name}/")

    visit(network, "")
    return [found.get(id(v)) or _raw(network, v) for v in network.variables]


def _fixed(layer):
    generators = layer._seed_generators
    return [*layer._non_trainable_variables, *(g.state for g in generators)]


def _renamed(raw, made_up):
    """Paths with made-up names counted anew in each layer.

    Args:
        raw: list of strings.
        made_up: `{name: the name without its number}`.
    """
    numbers, paths = {}, []
    for path in raw:
        done = ""
        for part in path.split("/"):
            base = made_up.get(part)
            if base is not None:
                siblings = numbers.setdefault((done, base), {})
                number = siblings.setdefault(part, len(siblings))
                part = f"{base}_{number}" if number else base
            done = f"{done}/{part}" if done else part
        paths.append(done)
    return paths


def _raw(network, variable):
    return relative_to(network, variable.path)


def _shapes(network):
    return [tuple(v.shape) for v in network.variables]
