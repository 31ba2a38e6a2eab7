"""TensorFlow: variables belong to a distribution strategy."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from kgrow.backend import tensorflow_ahead
from kgrow.backend.contract import Backend


class TensorFlowBackend(Backend):
    """Variables belong to a distribution strategy."""

    compiles = True

    def scope(self, model):
        return model.distribute_strategy.scope()

    def to_numpy_if_cpu(self, value):
        value = tf.convert_to_tensor(value)
        if "CPU" in value.device or not value.device:
            return value.numpy()
        return value

    def snapshot(self, variables):
        # In the host's memory: the device may have no room for them twice.
        values = [np.array(v.numpy()) for v in variables]

        def restore():
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

        return restore

    def forward(self, network, inputs):
        outputs = network(inputs, training=False)
        return keras.tree.map_structure(np.asarray, outputs)

    @contextlib.contextmanager
    def exact_products(self):
        # GPUs multiply float32 in TF32 unless they are told not to.
        config = tf.config.experimental
        rounded = config.tensor_float_32_execution_enabled()
        config.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            config.enable_tensor_float_32_execution(rounded)

    def batch_specs(self, data):
        return keras.tree.map_structure(_of_all_replicas, data.element_spec)

    def trace_settings(self):
        return tensorflow_ahead.trace_settings()

    def traced_shape(self, shape):
        # The last batch may be smaller.
        return (None, *shape[1:])

    def hold_places(self, variables):
        tensorflow_ahead.hold_places(variables)

    def compile_ahead(self, model, kind, batch, rows):
        return tensorflow_ahead.compile_ahead(model, kind, batch, rows)

    def with_programs(self, model, function, calls):
        return tensorflow_ahead.with_programs(model, function, calls)

    def gradient(self, function):
        def gradient(tensors, *inputs):
            tensors = [tf.convert_to_tensor(t) for t in tensors]
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                loss = function(tensors, *inputs)
            found = tape.gradient(loss, tensors, unconnected_gradients="zero")
            return [tf.convert_to_tensor(g).numpy() for g in found]

        return gradient

    def delete_buffers(self, values):
        # Reference counting gives TensorFlow's buffers back.
        del values

    def retire(self, value, message):
        # Functions that were traced before hold the resource itself, whose
        # value then fits nothing that they do.
        for each in getattr(value, "values", (value,)):
            tf.raw_ops.AssignVariableOp(
                resource=each.handle, value=tf.zeros((0,), each.dtype)
            )

    def peak_bytes(self):
        if not tf.config.list_physical_devices("GPU"):
            return None
        info = tf.config.experimental.get_memory_info("GPU:0")
        return info["current"], info["peak"]


def _of_all_replicas(spec):
    """The spec of the batch that replicas share out among them."""
    parts = getattr(spec, "_value_specs", None)
    if parts is None:
        return spec
    sizes = [part.shape[0] for part in parts]
    whole = None if None in sizes else sum(sizes)
    return tf.TensorSpec((whole, *parts[0].shape[1:]), parts[0].dtype)
