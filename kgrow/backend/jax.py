"""JAX: state lives in the training loop, buffers are donated."""

import contextlib
import functools

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from kgrow.algebra.errors import GrowthError
from kgrow.backend.jax_sharded import is_spread, place_of, spread


def sync(model):
    model.jax_state_sync()


def reload_state(model):
    # The training loop reads the variables again when the state is marked as
    # synced; the state of the previous step must not overwrite the new
    # variables.
    model._jax_state = None
    model._jax_state_synced = True


def retrace(model):
    # `jax.jit` caches traces by comparing functions, and all bound methods of
    # one model compare equal, so a stale trace would be reused. A new partial
    # equals only itself.
    model.train_step = functools.partial(type(model).train_step, model)


def scope(model):
    del model
    return contextlib.nullcontext()


def kept_random():
    # Keras on JAX draws from seed generators only, never from a global state.
    return contextlib.nullcontext()


def random_states():
    # As above: there is no such generator.
    return []


def set_random_states(states):
    del states


def register_parameters(network):
    del network


def storage(variable):
    return variable._value


def to_numpy_if_cpu(value):
    if is_spread(value):
        return value
    if all(d.platform == "cpu" for d in value.devices()):
        return np.asarray(value)
    return value


def with_sharding_constraint(value, variable):
    place = place_of(variable)
    if place is None:
        return value
    return jax.lax.with_sharding_constraint(value, place)


@contextlib.contextmanager
def whole_data():
    distribution = keras.distribution.distribution()
    if distribution is None:
        yield
        return
    shards = distribution.auto_shard_dataset
    distribution.auto_shard_dataset = False
    try:
        yield
    finally:
        distribution.auto_shard_dataset = shards


def processes():
    return jax.process_count()


def gathered(words):
    return np.asarray(multihost_utils.process_allgather(words))


def snapshot(variables):
    # Arrays never change, so that nothing is copied, and nothing gathered.
    values = [v._value for v in variables]

    def scatter_tokens():
        for variable, value in zip(variables, values, strict=True):
            variable._value = value

    return scatter_tokens


def forward(network, inputs):
    return forwarder(network)(inputs)


def forwarder(network):
    variables = network.variables

    @jax.jit
    def run(values, inputs):
        mapping = list(zip(variables, values, strict=True))
        # Not `stateless_call`: it insists on a `training` argument.
        with keras.StatelessScope(state_mapping=mapping):
            return network(inputs, training=False)

    def outputs(inputs):
        # Matrix products of accelerators round float32 inputs by default,
        # which would hide the difference that is looked for.
        with exact_products():
            values = [v.value for v in variables]
            if any(is_spread(value) for value in values):
                # Sharded outputs stay on their devices: they may be large.
                return run(values, jax.tree.map(as_batch, inputs))
            return jax.tree.map(np.asarray, run(values, inputs))

    return outputs


def as_batch(value):
    distribution = keras.distribution.distribution()
    if distribution is None or is_spread(value):
        return keras.ops.convert_to_tensor(value)
    value = np.asarray(value)
    place = distribution.get_data_layout(value.shape).backend_layout
    if value.shape[0] % distribution.num_model_replicas:
        place = jax.sharding.NamedSharding(
            place.mesh, jax.sharding.PartitionSpec()
        )
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    return spread(lambda index: value[index], value.shape, dtype, place)


def double_precision():
    return jax.enable_x64(True)


def exact_products():
    # A TPU multiplies float32 in one pass of bfloat16 unless it is told not to.
    return jax.default_matmul_precision("highest")


def flash_attention(requested):
    # Tried with Keras 3.15.1: on a TPU its kernel leaves out the scale, and
    # takes attention without a mask to be causal.
    if jax.devices()[0].platform != "tpu":
        return requested
    if requested:
        raise GrowthError(
            "On TPUs flash attention in Keras computes other numbers than "
            "attention does. Leave `flash_attention` out, or call "
            "`keras.config.disable_flash_attention()` before layers are made. "
            f"Received: flash_attention={requested}"
        )
    return False


def gradients(function, tensors):
    return [np.asarray(g) for g in jax.jit(jax.grad(function))(tensors)]


def delete_buffers(values):
    for value in values:
        if isinstance(value, jax.Array) and not value.is_deleted():
            value.delete()


def peak_bytes():
    stats = jax.local_devices()[0].memory_stats()
    if not stats or "peak_bytes_in_use" not in stats:
        return None
    return stats["bytes_in_use"], stats["peak_bytes_in_use"]
