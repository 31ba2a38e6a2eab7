"""The private parts of Keras that kgrow uses.

Nothing else in kgrow imports `keras.src`, but the files of the backends, each
for its own, and nothing else writes past the `__setattr__` of a Keras object.
A new Keras that breaks kgrow breaks it here. Tried with Keras 3.15.1.
"""

import contextlib
import copy

from keras.src import backend as implementation
from keras.src.backend.common import global_state
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE
from keras.src.models.functional import (
    Functional,
    functional_like_constructor,
)
from keras.src.saving import orbax_util
from keras.src.saving.saving_lib import H5IOStore
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.utils import file_utils
from keras.src.utils.backend_utils import DynamicBackend, in_tf_graph
from keras.src.utils.dtype_utils import dtype_size
from keras.src.utils.io_utils import (
    ask_to_proceed_with_overwrite,
    print_msg,
)
from keras.src.utils.module_utils import ocp
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED, get_random_seed
from keras.src.utils.tracking import DotNotTrackScope

__all__ = [
    "BIT64_TO_BIT32_DTYPE",
    "GLOBAL_RANDOM_SEED",
    "DotNotTrackScope",
    "DynamicBackend",
    "Functional",
    "functional_like_constructor",
    "PyDatasetAdapter",
    "ask_to_proceed_with_overwrite",
    "attributes_of",
    "dtype_size",
    "file_utils",
    "get_random_seed",
    "global_attribute",
    "global_state",
    "implementation",
    "in_tf_graph",
    "ocp",
    "orbax_util",
    "print_msg",
    "process_id",
    "replace_methods",
    "replaced_methods",
    "restore_methods",
    "set_attributes",
    "set_optimizer_variables",
    "set_thread_attributes",
    "set_untracked",
    "stop_reading",
    "sublayers_allowed",
    "thread_attributes",
    "with_attributes",
]


@contextlib.contextmanager
def global_attribute(name, value):
    """Context in which one of Keras' global attributes has a value.

    Example:

    >>> import keras
    >>> with global_attribute("object_name_uids", None):
    ...     keras.layers.Dense(2).name
    'dense'
    """
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, value)
    try:
        yield
    finally:
        global_state.set_global_attribute(name, before)


# What a user may have set for a thread, and what is computed depends on.
_OF_A_THREAD = (
    "custom_objects_scope_dict",
    "distribution",
    "dtype_policy",
    "flash_attention",
    "global_seed_generator",
    "remat_scope_stack",
    "traceback_filtering",
    GLOBAL_RANDOM_SEED,
)


def thread_attributes():
    """dict of the global attributes of this thread that another one needs in
    order to compute the same."""
    return {
        name: global_state.get_global_attribute(name) for name in _OF_A_THREAD
    }


def set_thread_attributes(attributes):
    """Gives this thread what `thread_attributes()` found in another."""
    for name, value in attributes.items():
        if value is not None:
            global_state.set_global_attribute(name, value)


def process_id():
    """The number of this process among those that train together."""
    # Keras has it on some backends only.
    return getattr(implementation.distribution_lib, "process_id", int)()


def set_untracked(item, name, value):
    """Sets an attribute of a layer that neither Keras nor TensorFlow tracks:
    one that is no part of it, or a dict that is to stay a dict."""
    vars(item)[name] = value


@contextlib.contextmanager
def with_attributes(item, attributes):
    """Context in which a layer has other values of some attributes, none of
    them tracked as a part of it."""
    own, missing = vars(item), object()
    before = {name: own.get(name, missing) for name in attributes}
    own.update(attributes)
    try:
        yield item
    finally:
        for name, value in before.items():
            if value is missing:
                own.pop(name, None)
            else:
                own[name] = value


def replace_methods(item, **methods):
    """Replaces methods of one layer, variable or optimizer."""
    vars(item).update(methods)


def restore_methods(item, *names):
    """Takes back what `replace_methods()` did to an object, if it did."""
    for name in names:
        vars(item).pop(name, None)


@contextlib.contextmanager
def replaced_methods(item, **methods):
    """Context in which methods of one object are replaced."""
    replace_methods(item, **methods)
    try:
        yield
    finally:
        restore_methods(item, *methods)


@contextlib.contextmanager
def sublayers_allowed(layer):
    """Context in which a built layer takes and loses sublayers."""
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        yield
    finally:
        if locked:
            layer._tracker.lock()


def stop_reading(store, error):
    """Makes Keras stop loading from a file of weights, with an error.

    Keras collects the error of one object and goes on to read its parts. It
    goes on here too where the file has nothing for the object, as Keras may
    find it under another name.

    Args:
        store: what Keras gave to `load_own_variables()`.
        error: exception, raised when Keras looks for the next object.
    """
    if not isinstance(store, H5IOStore):
        return  # Not a file, but the entries of one object.
    path = store._h5_entry_path
    if path and not store.has_path(path):
        return

    def get(path):
        del path
        store.close()
        raise error

    store.get = get


def attributes_of(item):
    """dict of the attributes of an object, that `set_attributes()` takes.

    With copies of the dicts that TensorFlow keeps of them, and changes with
    every attribute that is set.
    """
    attributes = dict(vars(item))
    for name, value in attributes.items():
        if name.startswith("_self_unconditional"):
            attributes[name] = copy.copy(value)
    return attributes


def set_attributes(item, attributes):
    """Gives an object these attributes and no others, as they are tracked."""
    vars(item).clear()
    vars(item).update(attributes)


def set_optimizer_variables(optimizer, variables):
    """Makes these the optimizer's variables, in a new list: TensorFlow's keep
    track of removed items, and such a list cannot be saved any more."""
    tracker = optimizer._tracker
    with DotNotTrackScope():
        optimizer._variables = variables
    is_variable, _ = tracker.config["variables"]
    tracker.config["variables"] = (is_variable, optimizer._variables)
    tracker.stored_ids["variables"] = {id(v) for v in variables}
