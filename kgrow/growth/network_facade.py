"""Attributes and methods of a model that its network answers."""

from __future__ import annotations

from typing import Any

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.output_check import symbolic_inputs
from kgrow.backend.keras_internals import set_untracked


class NetworkFacade(keras.Model):
    """The part of `GrowableModel` that looks like the network it wraps.

    Attributes and methods that `keras.Model` defines are delegated by name;
    any other public attribute but `optimizer` is looked up on the network:
    `inputs`, `output_names`, `backbone`, a layer that its class keeps in an
    attribute.
    An attribute that the network lacks is missing here too, so `hasattr()`
    is right.
    """

    network: keras.Model
    _in_file = False

    def __getattr__(self, name: str) -> Any:
        # On torch the base class finds sublayers.
        inherited = getattr(super(), "__getattr__", None)
        if inherited is not None:
            try:
                return inherited(name)
            except AttributeError:
                pass
        # TensorFlow sets no attribute that has the value already: `compile()`
        # with the network's optimizer would leave the model without one.
        if name.startswith("_") or name in ("network", "optimizer"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        return getattr(self.network, name)

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        # `training` is passed explicitly: `stateless_call()`, which JAX trains
        # with, opens no call context. Keras drops it for networks whose
        # `call()` does not take it.
        del mask
        return self.network(inputs, training=training)

    def build(self, input_shape: Any = None) -> None:
        del input_shape
        self.built = True

    def _obj_type(self):
        # Keras calls this when it saves or loads, just before it reads
        # `layers`. In files the network is the model's only layer.
        set_untracked(self, "_in_file", True)
        return super()._obj_type()

    @property
    def layers(self) -> list[keras.layers.Layer]:
        if self._in_file:
            set_untracked(self, "_in_file", False)
            return super().layers
        return self.network.layers

    @layers.setter
    def layers(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, value: list[keras.layers.Layer]
    ) -> None:
        # Keras' setter always raises; a network's class may have its own.
        self.network.layers = value

    @property
    def input(self) -> Any:
        return self.network.input

    @property
    def output(self) -> Any:
        return self.network.output

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.network.compute_output_shape(input_shape)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        # By tracing `call()`: shapes alone would not tell the dtypes.
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints the summary of the network, see `keras.Model.summary()`."""
        backend.sync(self)
        with self._lent_to(self.network):
            return self.network.summary(*args, **kwargs)

    def export(
        self,
        filepath: str,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Exports the network for inference, see `keras.Model.export()`.

        Args:
            filepath: string, the path to write to.
            format: string, see `keras.Model.export()`.
            verbose: optional bool.
            input_signature: shapes and dtypes of the inputs; by default those
                that the network was built with.
            **kwargs: options of the format.

        Raises:
            GrowthError: the network does not say what inputs it takes.
        """
        backend.sync(self)
        if input_signature is None:
            input_signature = _signature(self.network)
        return self.network.export(
            filepath,
            format=format,
            verbose=verbose,
            input_signature=input_signature,
            **kwargs,
        )

    def get_quantization_layer_structure(self, mode: str | None = None) -> Any:
        return self.network.get_quantization_layer_structure(mode)


def _signature(network):
    """The `input_signature` of a network for `export()`, or `None` where Keras
    knows it."""
    if symbolic_inputs(network) is not None:
        return None
    example = getattr(network, "example_inputs", None)
    if example is not None:
        return [keras.tree.map_structure(_open_batch, example(2))]
    if getattr(network, "_build_shapes_dict", None) and network._called:
        return None
    raise GrowthError(
        f"The network {network.name!r} does not say what inputs it takes. "
        "Pass them: export(..., input_signature=[keras.InputSpec(shape, "
        "dtype)]), or give its class a method `example_inputs(batch_size, "
        "seed)`. Received: input_signature=None"
    )


def _open_batch(array):
    return keras.layers.InputSpec(
        dtype=keras.backend.standardize_dtype(array.dtype),
        shape=(None, *array.shape[1:]),
    )
