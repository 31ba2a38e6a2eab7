"""Keras' scopes: none of them leaks into a growth, or out of one."""

import contextlib

from kgrow.backend.keras_internals import global_state

_SCOPES = (
    "autocast_scope",
    "current_call_ctx",
    "in_tf_graph_scope",
    "stateless_scope",
    "symbolic_scope",
    "tracking_on",
)
_NAMES = "name_scope_stack"


@contextlib.contextmanager
def own_scopes():
    """Context outside of all name scopes, after which Keras' scopes are what
    they were.

    A variable that is made in a name scope has a path that begins with it, and
    growth finds variables by their paths. An interrupt in Keras' own code may
    leave a scope entered, in which nothing can be built.

    Example:

    >>> import keras
    >>> with keras.name_scope("outer"), own_scopes():
    ...     keras.Variable(0.0, name="rate").path
    'rate'
    """
    get, put = global_state.get_global_attribute, _put
    before = {name: get(name) for name in _SCOPES}
    names = get(_NAMES)
    held = [] if names is None else list(names)
    put(_NAMES, [])
    try:
        yield
    finally:
        if names is None:
            names = []
        names[:] = held
        put(_NAMES, names)
        for name, value in before.items():
            put(name, value)


def relative_to(network, path):
    """A path from a network on, without its name and the scopes around it.

    Example:

    >>> import keras
    >>> with keras.name_scope("outer"):
    ...     layer = keras.layers.Dense(1, name="inner")
    ...     layer.build((None, 2))
    >>> relative_to(layer, layer.kernel.path)
    'kernel'
    """
    for name in (network.path, network.name):
        if name and path.startswith(f"{name}/"):
            return path.removeprefix(f"{name}/")
    return path


def _put(name, value):
    if value is None and global_state.get_global_attribute(name) is None:
        return
    global_state.set_global_attribute(name, value)
