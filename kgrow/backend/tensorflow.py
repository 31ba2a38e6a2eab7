"""TensorFlow: variables belong to a distribution strategy."""

import contextlib
import functools

import keras
import numpy as np
import tensorflow as tf


def sync(model):
    del model


def reload_state(model):
    del model


def retrace(model):
    # A new step is traced, or run, as it is.
    del model


def scope(model):
    return model.distribute_strategy.scope()


def kept_random():
    # Keras on TensorFlow draws from seed generators only, never from a global
    # state.
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
    value = tf.convert_to_tensor(value)
    if "CPU" in value.device or not value.device:
        return value.numpy()
    return value


def snapshot(variables):
    # In the host's memory: the device may have no room for them twice.
    values = [np.array(v.numpy()) for v in variables]

    def scatter_tokens():
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return scatter_tokens


def forward(network, inputs):
    outputs = network(inputs, training=False)
    return keras.tree.map_structure(np.asarray, outputs)


def forwarder(network):
    return functools.partial(forward, network)


def double_precision():
    return contextlib.nullcontext()


@contextlib.contextmanager
def exact_products():
    # GPUs multiply float32 in TF32 unless they are told not to.
    config = tf.config.experimental
    rounded = config.tensor_float_32_execution_enabled()
    config.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        config.enable_tensor_float_32_execution(rounded)


def gradients(function, tensors):
    tensors = [tf.convert_to_tensor(t) for t in tensors]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = function(tensors)
    found = tape.gradient(loss, tensors, unconnected_gradients="zero")
    return [tf.convert_to_tensor(g).numpy() for g in found]


def delete_buffers(values):
    # Reference counting gives TensorFlow's buffers back.
    del values


def peak_bytes():
    if not tf.config.list_physical_devices("GPU"):
        return None
    info = tf.config.experimental.get_memory_info("GPU:0")
    return info["current"], info["peak"]
