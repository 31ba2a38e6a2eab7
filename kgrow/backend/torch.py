"""torch: every Keras layer is a module that registers its parameters."""

import contextlib

import keras
import torch
from keras.src.backend.torch.core import get_device

from kgrow.algebra.errors import GrowthError
from kgrow.backend.contract import Backend


class Retired(torch.Tensor):
    """A tensor that was given up: every operation on it raises, and so does a
    torch optimizer that asks for its gradient."""

    @property
    def grad(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        # An attribute of tensors, and here an error.
        raise GrowthError(vars(self)["said"])

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        del func, types, kwargs
        for each in keras.tree.flatten(args):
            if isinstance(each, cls):
                raise GrowthError(vars(each)["said"])
        raise GrowthError("A tensor of a network that grew is used.")


class TorchBackend(Backend):
    """Layers are modules that register their parameters."""

    def reload_state(self, model):
        # The model registers the parameters of all its layers; a stale list
        # would keep the old ones alive.
        model._track_variables()

    def kept_random(self):
        # Dropout and initialisers may draw from torch's global generators.
        devices = range(torch.cuda.device_count())
        return torch.random.fork_rng(devices)

    def random_states(self):
        states = [torch.get_rng_state()]
        if torch.cuda.is_available():
            states += torch.cuda.get_rng_state_all()
        return [state.numpy() for state in states]

    def set_random_states(self, states):
        first, *rest = [torch.from_numpy(state) for state in states]
        torch.set_rng_state(first)
        if rest:
            torch.cuda.set_rng_state_all(rest)

    def register_parameters(self, network):
        # Variables without values are no parameters yet when layers are
        # built, so each layer registers its own again.
        for layer in network._flatten_layers(include_self=True):
            layer._track_variables()

    def to_numpy_if_cpu(self, value):
        value = value.detach()
        if value.device.type != "cpu":
            return value
        if value.dtype == torch.bfloat16:
            import ml_dtypes

            return value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return value.numpy()

    def snapshot(self, variables):
        # In the host's memory: the device may have no room for them twice.
        values = [v._value.detach().to("cpu", copy=True) for v in variables]

        def restore():
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

        return restore

    def forward(self, network, inputs):
        with torch.no_grad():
            outputs = network(inputs, training=False)
        return keras.tree.map_structure(
            lambda t: keras.ops.convert_to_numpy(t), outputs
        )

    def forward_and_losses(self, network, inputs):
        with torch.no_grad():
            return super().forward_and_losses(network, inputs)

    @contextlib.contextmanager
    def exact_products(self):
        # GPUs may multiply float32 in TF32, and convolutions do by default.
        precision = torch.get_float32_matmul_precision()
        rounded = torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = rounded
            torch.set_float32_matmul_precision(precision)

    def gradient(self, function):
        def gradient(tensors, *inputs):
            tensors = [t.detach().clone().requires_grad_() for t in tensors]
            loss = function(tensors, *inputs)
            found = torch.autograd.grad(loss, tensors, materialize_grads=True)
            return [g.detach().cpu().numpy() for g in found]

        return gradient

    def delete_buffers(self, values):
        # Networks contain reference cycles, which would keep them alive until
        # the garbage collector runs.
        for value in values:
            if isinstance(value, torch.Tensor):
                value.grad = None
                value.data = value.data.new_empty(0)

    def retire(self, value, message):
        value.__class__ = Retired
        value.said = message

    def peak_bytes(self):
        if get_device() != "cuda":
            return None
        return torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
