"""Seeing every training step of a running `fit` from the host.

Callbacks are told the number of a batch, not what is in it. What `fit` calls in
each step, the model's train function, is handed the data: on JAX an iterator,
on torch the batches themselves, on TensorFlow an iterator that is read inside
the compiled step and whose shapes are known outside. The tap stands in front
of that function. It asks for shapes only, so nothing waits for the device.
"""

import time
from dataclasses import dataclass

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.analysis.cost_estimate import count_tokens
from kgrow.backend.flops import forward_flops, training_flops
from kgrow.backend.keras_internals import replace_methods, restore_methods


@dataclass(frozen=True)
class Price:
    """The cost of one batch of given shapes.

    Args:
        flops: Integer, FLOPs of one step.
        tokens: Integer.
        examples: Integer.
        per_example: `(flops, fixed flops, tokens)` where the number of
            examples is not known beforehand, else `None`.
    """

    flops: int
    tokens: int
    examples: int
    per_example: tuple | None = None

    @property
    def is_open(self):
        return self.per_example is not None


@dataclass(frozen=True)
class Step:
    """One call of the train function.

    Args:
        prices: List of `Price`, one for each batch.
        batches: Integer.
        seconds: Float, how long the call took on the host.
        counting_seconds: Float, how long it took to find the prices.
        is_first: Boolean, whether a program was compiled for it.
    """

    prices: list
    batches: int
    seconds: float
    counting_seconds: float
    is_first: bool

    @property
    def price(self):
        return self.prices[0]

    @property
    def flops(self):
        return sum(price.flops for price in self.prices)

    @property
    def tokens(self):
        return sum(price.tokens for price in self.prices)

    @property
    def examples(self):
        return sum(price.examples for price in self.prices)


class StepTap:
    """Stands in front of a model's train function, and of each that follows.

    Args:
        model: a compiled `keras.Model` inside `fit`.
        before: function without arguments, called before each step.
        after: function of a `Step`, called after it.

    Attributes:
        steps: int or `None`, batches in an epoch.
        batch: int, the number of the batch that begins.
    """

    def __init__(self, model, before, after, steps=None):
        self.model = model
        self.before = before
        self.after = after
        self.steps = steps
        self.batch = 0
        earlier = vars(model).get("make_train_function")
        if isinstance(earlier, _Maker):
            # Of a `fit` that ended in an exception.
            earlier.tap.remove()
        replace_methods(model, make_train_function=_Maker(self))
        self.stand_in_front()

    def stand_in_front(self):
        function = self.model.train_function
        if not isinstance(function, _Tapped):
            self.model.train_function = _Tapped(function, self)
        else:
            # One that was kept from before, perhaps by another tap.
            function.tap = self

    def remove(self):
        """Leaves the model as it was."""
        restore_methods(self.model, "make_train_function")
        function = self.model.train_function
        if isinstance(function, _Tapped):
            self.model.train_function = function.function
        self.before, self.after = _nothing, _nothing

    def examples_seen(self):
        """How many examples the loss has seen in this epoch."""
        tracker = getattr(self.model, "_loss_tracker", None)
        if tracker is None:
            return 0
        return float(keras.ops.convert_to_numpy(tracker.count))

    def price(self, inputs, state):
        """`Price` of a batch with inputs of such shapes.

        Args:
            inputs: structure of tensors or of what has their shape and dtype.
            state: lists of values of the model's variables where these hold
                none, as on JAX in a running `fit`; else `None`.
        """
        shapes = [tuple(t.shape) for t in keras.tree.flatten(inputs)]
        if all(None not in shape for shape in shapes):
            flops, tokens = self._count(inputs, None, state)
            return Price(flops, tokens, int(shapes[0][0]))
        if any(None in shape[1:] for shape in shapes):
            raise GrowthError(
                "The data have sequences of no fixed length, whose FLOPs "
                "cannot be told beforehand. Pad them to one length, or to a "
                f"few. Received: inputs of shape {shapes}"
            )
        one, two = (self._count(inputs, size, state) for size in (1, 2))
        each = two[0] - one[0]
        return Price(0, 0, 0, (each, one[0] - each, one[1]))

    def _count(self, inputs, batch, state):
        def spec(tensor):
            rest = [int(size) for size in tensor.shape[1:]]
            first = int(tensor.shape[0]) if batch is None else batch
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            return keras.KerasTensor((first, *rest), dtype)

        model = self.model
        values = ()
        if state is not None:
            trainable = zip(model.trainable_variables, state[0], strict=True)
            others = zip(model.non_trainable_variables, state[1], strict=True)
            values = [*trainable, *others]
        specs = keras.tree.map_structure(spec, inputs)
        flops = training_flops(model, specs, values=values)
        teacher = getattr(model, "teacher", None)
        if teacher is not None:
            flops += forward_flops(teacher, specs, values=values)
        return flops, count_tokens(specs)


class _Maker:
    """Wraps `model.make_train_function` to observe its calls."""

    def __init__(self, tap):
        self.tap = tap

    def __call__(self, force=False):
        tap = self.tap
        result = type(tap.model).make_train_function(tap.model, force)
        tap.stand_in_front()
        return result


class _Tapped:
    """A train function with a tap in front of it.

    Args:
        function: the train function.
        tap: `StepTap`.
    """

    def __init__(self, function, tap):
        self.function = function
        self.tap = tap
        self.prices = {}

    def __call__(self, *args):
        tap = self.tap
        tap.before()
        *state, data = args
        data, batches = self._look(data)
        start = time.perf_counter()
        known = len(self.prices)
        prices = [self._price(batch, state) for batch in batches]
        middle = time.perf_counter()
        result = self.function(*state, data)
        end = time.perf_counter()
        tap.after(
            Step(
                prices,
                len(prices),
                seconds=end - middle,
                counting_seconds=middle - start,
                is_first=len(self.prices) > known,
            )
        )
        return result

    def _look(self, data):
        """`(data, batches)`: the data to pass on, and the shapes of each batch
        in it."""
        count = self.tap.model.steps_per_execution
        if isinstance(data, (list, tuple)):
            return data, data
        if hasattr(data, "element_spec"):
            steps = (self.tap.steps or 0) - self.tap.batch
            if steps > 0:
                count = min(count, steps)
            return data, [backend.batch_specs(data)] * count
        batches = [next(data)]
        while len(batches) < count:
            try:
                batches.append(next(data))
            except StopIteration:
                break
        return iter(batches), batches

    def _price(self, batch, state):
        inputs = keras.utils.unpack_x_y_sample_weight(batch)[0]
        leaves = keras.tree.flatten(inputs)
        key = tuple((tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves)
        if key not in self.prices:
            lists = state[0] if state else None
            self.prices[key] = self.tap.price(inputs, lists)
        return self.prices[key]


def _nothing(*args):
    del args
