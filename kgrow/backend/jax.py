"""JAX: state lives in the training loop, buffers are donated."""

import contextlib
import functools

import jax
import keras
import numpy as np


def sync(model):
    model.jax_state_sync()


def restart(model):
    # The loop reads the variables again when it finds the state synced; what
    # it remembers of the old step must not be written back over new ones.
    model._jax_state = None
    model._jax_state_synced = True


def renew(model):
    # jax.jit finds traces again by comparing functions, and all bound methods
    # of one model are equal: what was traced under other conditions would be
    # taken for the step. A partial is equal to itself only.
    model.train_step = functools.partial(type(model).train_step, model)


def scope(model):
    del model
    return contextlib.nullcontext()


def kept_random():
    # Keras draws from states of its own here, never from a global one.
    return contextlib.nullcontext()


def adopt(network):
    del network


def raw(variable):
    return variable._value


def host(value):
    if all(d.platform == "cpu" for d in value.devices()):
        return np.asarray(value)
    return value


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
        with jax.default_matmul_precision("highest"):
            values = [v.value for v in variables]
            return jax.tree.map(np.asarray, run(values, inputs))

    return outputs


def double_precision():
    return jax.enable_x64(True)


def gradients(function, tensors):
    return [np.asarray(g) for g in jax.jit(jax.grad(function))(tensors)]


def free(values):
    for value in values:
        if isinstance(value, jax.Array) and not value.is_deleted():
            value.delete()


def peak_bytes():
    stats = jax.local_devices()[0].memory_stats()
    if not stats or "peak_bytes_in_use" not in stats:
        return None
    return stats["bytes_in_use"], stats["peak_bytes_in_use"]
