"""What a model says of itself, answered by the network that it wraps."""

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.output_check import symbolic_inputs
from kgrow.backend.keras_internals import set_untracked


class NetworkFacade:
    """Everything that Keras or a user reads off a model, read off `network`.

    What Keras' base class defines is delegated by name; any other public
    attribute is looked up on the network: `inputs`, `output_names`,
    `input_shape`, `backbone`, a layer that its class keeps in an attribute.
    So an attribute that only some networks have is missing here where it is
    missing there, and `hasattr()` tells the truth.
    """

    _in_file = False

    def __getattr__(self, name):
        # On torch a layer finds its sublayers through its base class.
        inherited = getattr(super(), "__getattr__", None)
        if inherited is not None:
            try:
                return inherited(name)
            except AttributeError:
                pass
        if name.startswith("_") or name == "network":
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        return getattr(self.network, name)

    def call(self, inputs, training=None, mask=None):
        # By name, not through Keras' call context: `stateless_call`, which JAX
        # trains with, opens none. Networks that do not name it never see it.
        del mask
        return self.network(inputs, training=training)

    def build(self, input_shape=None):
        del input_shape
        self.built = True

    def _obj_type(self):
        # Keras asks when it writes or reads a file, before it looks at
        # `layers`: there the network is the one layer, with what is its own.
        set_untracked(self, "_in_file", True)
        return super()._obj_type()

    @property
    def layers(self):
        if self._in_file:
            set_untracked(self, "_in_file", False)
            return super().layers
        return self.network.layers

    @layers.setter
    def layers(self, value):
        self.network.layers = value

    @property
    def input(self):
        return self.network.input

    @property
    def output(self):
        return self.network.output

    def compute_output_shape(self, input_shape):
        return self.network.compute_output_shape(input_shape)

    def compute_output_spec(self, *args, **kwargs):
        # Read off `call()`: shapes alone would not tell dtypes.
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    def summary(self, *args, **kwargs):
        """Prints the summary of the network, see `keras.Model.summary()`."""
        backend.sync(self)
        with self._lent_to(self.network):
            return self.network.summary(*args, **kwargs)

    def export(
        self,
        filepath,
        format="tf_saved_model",
        verbose=None,
        input_signature=None,
        **kwargs,
    ):
        """Exports the network for inference, see `keras.Model.export()`.

        Args:
            filepath: string, where to.
            format: string, see `keras.Model.export()`.
            verbose: optional bool.
            input_signature: shapes and dtypes of the inputs; by default those
                that the network was built on.
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

    def get_quantization_layer_structure(self, mode=None):
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
