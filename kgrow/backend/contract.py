"""The methods that a backend implements beyond `keras.ops`."""

import abc
import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

from kgrow.algebra.arrays import WHOLE, Arrays
from kgrow.algebra.errors import GrowthError


class Backend(abc.ABC):
    """One of the backends that Keras runs on.

    The base class answers for a backend that keeps every array whole on a
    device, trains in one process, holds its state in the variables and draws
    from no global generator. A backend overrides what it does otherwise, and
    implements the abstract methods.

    To add a backend: one file with one subclass, and one line in
    `kgrow.backend`.

    Attributes:
        pieces: module of what can be done with an array that several devices
            hold in pieces, or `None` where there are no such arrays.
        compiles: bool, whether a training step is compiled before it runs, so
            that time is saved by `compile_ahead()`.
    """

    pieces: Any = None
    compiles = False

    # State of a running `fit`.

    def sync(self, model) -> None:
        """Makes the variables hold what the running step holds."""
        del model

    def reload_state(self, model) -> None:
        """Makes the next step read the variables again."""
        del model

    def retrace(self, model) -> None:
        """Makes the next training function be traced anew, whatever it has in
        common with the last one."""
        del model

    def scope(self, model) -> AbstractContextManager[Any]:
        """Context in which variables of the model are created."""
        del model
        return contextlib.nullcontext()

    # Variables and arrays.

    def storage(self, variable) -> Any:
        """The backend's own array of a variable; `None` before it has one."""
        return variable._value

    @abc.abstractmethod
    def to_numpy_if_cpu(self, value) -> Any:
        """An array of the backend as a numpy array, if it is in host memory.

        Nothing is copied where that is possible. An array on an accelerator,
        or in pieces on several devices, is returned as it is.
        """

    def to_numpy(self, value) -> np.ndarray:
        """A variable or a tensor as a numpy array, copied to the host."""
        return np.asarray(keras.ops.convert_to_numpy(value))

    @abc.abstractmethod
    def snapshot(self, variables) -> Callable[[], None]:
        """Makes a function that gives variables the values they have now."""

    @abc.abstractmethod
    def delete_buffers(self, values) -> None:
        """Frees the device memory of arrays at once; others are ignored."""

    def batch_specs(self, data) -> Any:
        """Shapes and dtypes of one batch of data that a step reads itself, of
        all replicas together."""
        return data.element_spec

    def retire(self, value, message) -> None:
        """Makes an array that was given up raise where it is used.

        Args:
            value: array of a variable, `delete_buffers()` done.
            message: string, of the error where the backend lets one choose.
        """
        del value, message

    def register_parameters(self, network) -> None:
        """Registers the variables of a network that got their values late."""
        del network

    # Computing.

    @abc.abstractmethod
    def forward(self, network, inputs) -> Any:
        """Inference outputs of a network, in the precision of their dtype.

        Returns:
            numpy arrays; arrays in pieces where the variables are in pieces.
        """

    def forward_and_losses(self, network, inputs) -> tuple[Any, list[Any]]:
        """Inference outputs of a network, and the penalties that it adds.

        Returns:
            `(outputs, losses)`, tensors.
        """
        outputs = network(inputs, training=False)
        return outputs, network.losses

    def forwarder(self, network) -> Callable[[Any], Any]:
        """A function of inputs like `forward()`, compiled once, which reads
        the variables at each call."""
        return functools.partial(self.forward, network)

    @abc.abstractmethod
    def gradient(self, function) -> Callable[..., list[np.ndarray]]:
        """The gradient of a scalar function, by its first argument.

        Args:
            function: of a list of tensors and of other inputs.

        Returns:
            a function of the same arguments, compiled once, that returns a
            list of numpy arrays.
        """

    def double_precision(self) -> AbstractContextManager[Any]:
        """Context in which float64 tensors exist."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def exact_products(self) -> AbstractContextManager[Any]:
        """Context in which products of matrices are computed in the precision
        of their dtype, whatever the backend or the user has set.

        It binds what is traced or run inside it.
        """

    def flash_attention(self, requested) -> bool | None:
        """The `flash_attention` to give a Keras layer where `requested` was
        asked for: what the platform computes correctly."""
        return requested

    # Programs that are compiled ahead of the step that runs them.

    def trace_settings(self):
        """dict of the backend's settings that a compiled step depends on, as
        they hold in this thread."""
        return {}

    def with_settings(self, settings):
        """Context in which the settings of another thread hold here, as far
        as that is possible.

        Args:
            settings: dict, what `trace_settings()` gave there.
        """
        del settings
        return contextlib.nullcontext()

    def traced_dtype(self, dtype):
        """The dtype, a string, in which a step takes an array of a dtype."""
        return keras.backend.standardize_dtype(dtype)

    def traced_shape(self, shape):
        """The shape that a step is traced with, where `fit` is given arrays
        that come in batches of a shape."""
        return tuple(shape)

    def hold_places(self, variables):
        """Gives variables without values what a trace needs of them, and no
        memory."""
        del variables

    def compile_ahead(self, model, kind, batch, rows):
        """Compiles a step of a model, which need not have values.

        Args:
            model: compiled and built `keras.Model`.
            kind: `"train"` or `"test"`.
            batch: structure of `KerasTensor`s, as the step is traced with.
            rows: int, the size of the batch where `batch` leaves it open, or
                `None` if it is not known.

        Returns:
            `AheadProgram`.
        """
        raise NotImplementedError

    def with_programs(self, model, function, calls):
        """A function like one that Keras made to train or test with, that
        runs a program compiled ahead where there is one.

        Args:
            model: `keras.Model` whose variables the programs take.
            function: what Keras made.
            calls: object with `find(data, rows)`, which gives an
                `AheadProgram` or `None`, and `refuse(data, error)`, called
                when the program cannot run and has changed nothing.
        """
        del model, calls
        return function

    def keep_programs(self, folder):
        """Keeps compiled programs in a folder, where later processes find
        them.

        Args:
            folder: path, `gs://` too; made if it does not exist.

        Raises:
            GrowthError: the backend keeps none.
        """
        raise GrowthError(
            "Compiled programs are kept on JAX only. Leave the folder out, or "
            "set KERAS_BACKEND=jax. Received: "
            f"folder={str(folder)!r}, KERAS_BACKEND={keras.backend.backend()}"
        )

    # Randomness.

    def kept_random(self) -> AbstractContextManager[Any]:
        """Context that leaves the backend's global random generators as they
        were.

        On JAX and TensorFlow Keras draws from states of its own.
        """
        return contextlib.nullcontext()

    def random_states(self) -> list[Any]:
        """States of the global generators, a list of arrays of bytes."""
        return []

    def set_random_states(self, states) -> None:
        """Gives the global generators the states of `random_states()`."""
        del states

    # Several devices and processes.

    def is_spread(self, value) -> bool:
        """Whether an array is on several devices."""
        del value
        return False

    def place_of(self, variable) -> Any:
        """Where the active distribution puts a variable, or `None`."""
        del variable

    def arrays_at(self, place, values) -> Arrays:
        """How a plan works on values that go to a place of `place_of()`.

        Returns:
            `kgrow.algebra.arrays.Arrays`.
        """
        del place, values
        return WHOLE

    def with_sharding_constraint(self, value, variable) -> Any:
        """A tensor of a traced step, laid out as the active distribution lays
        out the variable."""
        del variable
        return value

    def as_batch(self, value) -> Any:
        """The tensor of a batch that every process has whole.

        It is laid out as the active distribution lays out batches, or on every
        device where it cannot be divided.
        """
        return keras.ops.convert_to_tensor(value)

    def whole_data(self) -> AbstractContextManager[Any]:
        """Context in which every process trains on all data that it is given,
        and leaves none of it to others."""
        return contextlib.nullcontext()

    def processes(self) -> int:
        """How many processes train together."""
        return 1

    def gathered(self, words) -> np.ndarray:
        """Unsigned 32-bit numbers of every process, `(processes, words)`."""
        return np.asarray(words)[None]

    # Memory.

    @abc.abstractmethod
    def peak_bytes(self) -> tuple[int, int] | None:
        """`(in use, peak)` of the device's allocator in bytes, or `None` where
        it does not count."""
