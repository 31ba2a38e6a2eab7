"""Steps traced ahead on TensorFlow, and compiled where that takes no device's
memory.

A trace refers to variables. It is made with variables that have a shape and no
memory, and when another model takes it over, that model's variables are put
in their places. Tried with TensorFlow 2.21.
"""

import keras
import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import UninitializedVariable

from kgrow.algebra.errors import GrowthError
from kgrow.backend.ahead_program import AheadProgram


def trace_settings():
    """dict of TensorFlow's settings that a trace depends on."""
    config = tf.config
    return {
        "tf32": config.experimental.tensor_float_32_execution_enabled(),
        "xla": config.optimizer.get_jit(),
        "optimizer": config.optimizer.get_experimental_options(),
        "functions run eagerly": config.functions_run_eagerly(),
    }


def hold_places(variables):
    """Gives variables handles without memory; see `Backend`."""
    for variable in variables:
        if variable._value is None:
            variable._value = _without_memory(variable)


def compile_ahead(model, kind, batch, rows):
    """The traced step of a model; see `Backend.compile_ahead()`."""
    if _is_distributed(model):
        raise GrowthError(
            "Under a `tf.distribute` strategy steps are traced when they run "
            f"first. Received: {type(model.distribute_strategy).__name__}"
        )
    state = _state(model)
    hold_places(state)
    step = getattr(model, f"{kind}_step")

    @tf.autograph.experimental.do_not_convert
    def one_step(data):
        return step(data)

    traced = tf.function(
        one_step, reduce_retracing=True, jit_compile=model.jit_compile
    ).get_concrete_function(keras.tree.map_structure(_spec, batch))
    if rows is not None and not tf.config.list_physical_devices("GPU"):
        _run_once(traced, state, batch, rows)
    return AheadProgram(_Trace(traced, state).bound_to)


def with_programs(model, function, calls):
    """Runs programs in the place of Keras' function; see `Backend`."""
    if model.steps_per_execution != 1 or _is_distributed(model):
        return function
    bound = {}

    def run(iterator):
        if not isinstance(iterator, tf.data.Iterator):
            return function(iterator)
        rows = _rows(model)
        program = calls.find(iterator.element_spec, rows)
        if program is None:
            return function(iterator)
        if program not in bound:
            bound[program] = program.run(model)
        # At the end of the data it raises what Keras expects.
        return bound[program](iterator.get_next())

    return run


class _Trace:
    """A traced step, and the variables that it refers to.

    Args:
        function: `ConcreteFunction` of a batch.
        state: list of `keras.Variable`s of the model that was traced.
    """

    def __init__(self, function, state):
        self.function = function
        places = {id(v._value.handle): i for i, v in enumerate(state)}
        captures = function.captured_inputs
        self.places = [places.get(id(capture)) for capture in captures]
        strangers = [
            capture
            for place, capture in zip(self.places, captures, strict=True)
            if place is None and capture.dtype == tf.resource
        ]
        if strangers:
            raise GrowthError(
                "The step reads a variable that is no part of the model, "
                f"which cannot be replaced. Received: {strangers[0]}"
            )

    def bound_to(self, model):
        """The function, with the variables of another model."""
        state = _state(model)
        captures = self.function.captured_inputs
        self.function.set_external_captures(
            [
                capture if place is None else state[place]._value.handle
                for place, capture in zip(self.places, captures, strict=True)
            ]
        )
        self.function.graph.variables = [v._value for v in state]
        return self.function


def _state(model):
    return [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ]


def _without_memory(variable):
    return UninitializedVariable(
        trainable=variable.trainable,
        name=variable.name,
        shape=tuple(variable.shape),
        dtype=tf.as_dtype(variable._dtype),
    )


def _spec(tensor):
    return None if tensor is None else tf.TensorSpec(tensor.shape, tensor.dtype)


def _run_once(traced, state, batch, rows):
    """Makes XLA compile a step, by a first run of it on zeros."""
    hollow = [
        v._value for v in state if isinstance(v._value, UninitializedVariable)
    ]
    for variable in hollow:
        _fill(variable, variable.shape)

    def zeros(tensor):
        if tensor is None:
            return None
        shape = [rows if size is None else size for size in tensor.shape]
        return tf.zeros(shape, tensor.dtype)

    traced(keras.tree.map_structure(zeros, batch))
    for variable in hollow:
        # The trace holds it until it is taken over.
        _fill(variable, (0,))


def _fill(variable, shape):
    """Gives a variable zeros of any shape, whatever its own."""
    value = tf.zeros(shape, variable.dtype)
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def _rows(model):
    """The size of the batches of a running `fit`, if it is known."""
    iterator = getattr(model, "_epoch_iterator", None)
    return iterator and iterator.data_adapter.batch_size


def _is_distributed(model):
    return (
        tf.distribute.has_strategy() or model._distribute_strategy is not None
    )
