"""Functions of JAX, TensorFlow and torch that `keras.ops` does not have.

`Backend` in `contract.py` says what that is; `current` is the backend that
Keras runs on, the only one that is imported, and its methods are functions
here: `kgrow.backend.sync(model)`.
"""

import importlib

import keras

from kgrow.algebra.lazy_keras import register_serializable
from kgrow.backend.contract import Backend

register_serializable()

BACKENDS = {
    "jax": "JAXBackend",
    "tensorflow": "TensorFlowBackend",
    "torch": "TorchBackend",
}


def load(name):
    """The backend of a name, whose library is imported.

    Args:
        name: string, as `keras.backend.backend()` has it.

    Returns:
        `Backend`.
    """
    if name not in BACKENDS:
        raise ImportError(
            f"kgrow runs on the Keras backends {sorted(BACKENDS)}. Received: "
            f"{name!r}. Choose one of them by the environment variable "
            "KERAS_BACKEND."
        )
    module = importlib.import_module(f"kgrow.backend.{name}")
    return getattr(module, BACKENDS[name])()


current: Backend = load(keras.backend.backend())

arrays_at = current.arrays_at
batch_specs = current.batch_specs
as_batch = current.as_batch
compile_ahead = current.compile_ahead
compiles = current.compiles
delete_buffers = current.delete_buffers
double_precision = current.double_precision
exact_products = current.exact_products
flash_attention = current.flash_attention
forward = current.forward
forward_and_losses = current.forward_and_losses
forwarder = current.forwarder
gathered = current.gathered
gradient = current.gradient
hold_places = current.hold_places
is_spread = current.is_spread
keep_programs = current.keep_programs
kept_random = current.kept_random
peak_bytes = current.peak_bytes
pieces = current.pieces
place_of = current.place_of
processes = current.processes
random_states = current.random_states
register_parameters = current.register_parameters
reload_state = current.reload_state
retire = current.retire
retrace = current.retrace
scope = current.scope
set_random_states = current.set_random_states
snapshot = current.snapshot
storage = current.storage
sync = current.sync
to_numpy = current.to_numpy
to_numpy_if_cpu = current.to_numpy_if_cpu
trace_settings = current.trace_settings
traced_dtype = current.traced_dtype
traced_shape = current.traced_shape
whole_data = current.whole_data
with_programs = current.with_programs
with_settings = current.with_settings
with_sharding_constraint = current.with_sharding_constraint
