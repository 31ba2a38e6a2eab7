"""JAX: state lives in the training loop, buffers are donated."""

import contextlib
import functools

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from kgrow.algebra.errors import GrowthError
from kgrow.backend import jax_ahead, jax_sharded
from kgrow.backend.contract import Backend
from kgrow.backend.jax_arrays import ArraysInPieces


class JAXBackend(Backend):
    """State is in the training loop, arrays may be in pieces."""

    pieces = jax_sharded
    compiles = True

    def __init__(self):
        _check_not_nnx()

    def sync(self, model):
        model.jax_state_sync()

    def reload_state(self, model):
        # The training loop reads the variables again when the state is marked
        # as synced; the state of the previous step must not overwrite the new
        # variables.
        model._jax_state = None
        model._jax_state_synced = True

    def retrace(self, model):
        # `jax.jit` caches traces by comparing functions, and all bound methods
        # of one model compare equal, so a stale trace would be reused. A new
        # partial equals only itself.
        model.train_step = functools.partial(type(model).train_step, model)

    def to_numpy_if_cpu(self, value):
        if self.is_spread(value):
            return value
        if all(d.platform == "cpu" for d in value.devices()):
            return np.asarray(value)
        return value

    def is_spread(self, value):
        return jax_sharded.is_spread(value)

    def place_of(self, variable):
        return jax_sharded.place_of(variable)

    def arrays_at(self, place, values):
        if not any(self.is_spread(value) for value in values):
            return super().arrays_at(place, values)
        return ArraysInPieces(place)

    def with_sharding_constraint(self, value, variable):
        place = self.place_of(variable)
        if place is None:
            return value
        return jax.lax.with_sharding_constraint(value, place)

    @contextlib.contextmanager
    def whole_data(self):
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

    def processes(self):
        return jax.process_count()

    def gathered(self, words):
        return np.asarray(multihost_utils.process_allgather(words))

    def snapshot(self, variables):
        # Arrays never change, so that nothing is copied, and nothing gathered.
        values = [v._value for v in variables]

        def restore():
            for variable, value in zip(variables, values, strict=True):
                variable._value = value

        return restore

    def forward(self, network, inputs):
        return self.forwarder(network)(inputs)

    def forward_and_losses(self, network, inputs):
        variables = network.variables

        @jax.jit
        def infer(values, inputs):
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(
                state_mapping=mapping, collect_losses=True
            ):
                return network(inputs, training=False), network.losses

        with self.exact_products():
            values = [v.value for v in variables]
            if any(self.is_spread(value) for value in values):
                inputs = jax.tree.map(self.as_batch, inputs)
            return infer(values, inputs)

    def forwarder(self, network):
        variables = network.variables

        @jax.jit
        def infer(values, inputs):
            mapping = list(zip(variables, values, strict=True))
            # Not `stateless_call`: it insists on a `training` argument.
            with keras.StatelessScope(state_mapping=mapping):
                return network(inputs, training=False)

        def outputs(inputs):
            # Matrix products of accelerators round float32 inputs by default,
            # which would hide the difference that is looked for.
            with self.exact_products():
                values = [v.value for v in variables]
                if any(self.is_spread(value) for value in values):
                    # Sharded outputs stay on their devices: they may be large.
                    return infer(values, jax.tree.map(self.as_batch, inputs))
                return jax.tree.map(np.asarray, infer(values, inputs))

        return outputs

    def as_batch(self, value):
        distribution = keras.distribution.distribution()
        if distribution is None or self.is_spread(value):
            return keras.ops.convert_to_tensor(value)
        value = np.asarray(value)
        place = distribution.get_data_layout(value.shape).backend_layout
        if value.shape[0] % distribution.num_model_replicas:
            place = jax.sharding.NamedSharding(
                place.mesh, jax.sharding.PartitionSpec()
            )
        dtype = jax.dtypes.canonicalize_dtype(value.dtype)
        return jax_sharded.spread(
            lambda index: value[index], value.shape, dtype, place
        )

    def double_precision(self):
        return jax.enable_x64(True)

    def exact_products(self):
        # A TPU multiplies float32 in one pass of bfloat16 unless it is told
        # not to.
        return jax.default_matmul_precision("highest")

    def flash_attention(self, requested):
        # Tried with Keras 3.15.1: on a TPU its kernel leaves out the scale, and
        # takes attention without a mask to be causal.
        if jax.devices()[0].platform != "tpu":
            return requested
        if requested:
            raise GrowthError(
                "On TPUs flash attention in Keras computes other numbers than "
                "attention does. Leave `flash_attention` out, or call "
                "`keras.config.disable_flash_attention()` before layers are "
                f"made. Received: flash_attention={requested}"
            )
        return False

    def trace_settings(self):
        return jax_ahead.trace_settings()

    def with_settings(self, settings):
        return jax_ahead.with_settings(settings)

    def traced_dtype(self, dtype):
        dtype = keras.backend.standardize_dtype(dtype)
        if dtype in ("bfloat16", "string"):
            return dtype
        return str(jax.dtypes.canonicalize_dtype(dtype))

    def compile_ahead(self, model, kind, batch, rows):
        del rows
        return jax_ahead.compile_ahead(model, kind, batch)

    def with_programs(self, model, function, calls):
        return jax_ahead.with_programs(model, function, calls)

    def keep_programs(self, folder):
        jax_ahead.keep_programs(folder)

    def gradient(self, function):
        compiled = jax.jit(jax.grad(function))

        def gradient(tensors, *inputs):
            return [np.asarray(g) for g in compiled(tensors, *inputs)]

        return gradient

    def delete_buffers(self, values):
        for value in values:
            if isinstance(value, jax.Array) and not value.is_deleted():
                value.delete()

    def peak_bytes(self):
        stats = jax.local_devices()[0].memory_stats()
        if not stats or "peak_bytes_in_use" not in stats:
            return None
        return stats["bytes_in_use"], stats["peak_bytes_in_use"]


def _check_not_nnx():
    # There layers are `nnx.Module`s and variables `nnx.Variable`s: Flax tracks
    # their attributes and guards assignments, which growing goes past.
    if keras.config.is_nnx_enabled():
        raise GrowthError(
            "kgrow grows models of stock Keras layers, and Keras is in its NNX "
            "mode, where layers and variables are those of Flax. Start Python "
            'without KERAS_NNX_ENABLED, and without "nnx_enabled" in '
            "keras.json. Received: keras.config.is_nnx_enabled()=True"
        )
