"""torch: every Keras layer is a module that registers its parameters."""

import contextlib
import functools

import keras
import torch
from keras.src.backend.torch.core import get_device


def sync(model):
    del model


def restart(model):
    # The model registers parameters of its own, those of all its layers; as
    # they are, they would keep the old ones alive.
    model._track_variables()


def renew(model):
    # A new step is traced, or run, as it is.
    del model


def scope(model):
    del model
    return contextlib.nullcontext()


def kept_random():
    # Dropout and initialisers may draw from torch's global generators.
    devices = range(torch.cuda.device_count())
    return torch.random.fork_rng(devices)


def adopt(network):
    # Variables without values are no parameters yet when layers are built, so
    # each layer registers its own again.
    for layer in network._flatten_layers(include_self=True):
        layer._track_variables()


def raw(variable):
    return variable._value


def host(value):
    value = value.detach()
    if value.device.type != "cpu":
        return value
    if value.dtype == torch.bfloat16:
        import ml_dtypes

        return value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def forward(network, inputs):
    with torch.no_grad():
        outputs = network(inputs, training=False)
    return keras.tree.map_structure(
        lambda t: keras.ops.convert_to_numpy(t), outputs
    )


def forwarder(network):
    return functools.partial(forward, network)


def double_precision():
    return contextlib.nullcontext()


def gradients(function, tensors):
    tensors = [t.detach().clone().requires_grad_() for t in tensors]
    loss = function(tensors)
    found = torch.autograd.grad(loss, tensors, materialize_grads=True)
    return [g.detach().cpu().numpy() for g in found]


def free(values):
    # Reference counting gives torch's buffers back to its allocator.
    del values


def peak_bytes():
    if get_device() != "cuda":
        return None
    return torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
