"""How many floating-point operations one pass through a network takes.

Counted where they happen: while the network is traced on shapes, every
contraction that Keras hands to its backend is seen with its operands. Seven
rules then cover every layer, stock, masked or the user's own, and a tied head
that multiplies by an embedding needs no rule at all.

A multiply and an add are two operations. Norms, activations, softmax, residual
sums, look-ups and the gates of a growth are not counted: they are the few per
cent by which a compiler's own count lies above this one at the usual widths. A
causal mask halves nothing, as no backend skips the masked half, and parts that
are masked or behind a closed gate are computed in full. What a convolution
reads beyond the edge of an image is not counted. Tokens that are left out in
training are seen in the shapes; a block that is skipped with some probability
counts for its share. A loop that the backend keeps rolled (`ops.scan`,
recurrent layers on JAX) counts one turn.
"""

import contextlib
import math
import threading

import keras

from kgrow.backend.keras_internals import implementation

_patching = threading.Lock()
_local = threading.local()


def forward_flops(network, inputs, dtype=None, training=False, values=()):
    """Floating-point operations of one forward pass over one batch.

    Nothing is computed and no activation is allocated.

    Args:
        network: A built Keras model or layer.
        inputs: The shape of the input with its batch axis, as a tuple of
            integers; or, for several inputs, `keras.KerasTensor`s in the
            structure in which `network` takes them.
        dtype: String. Of the input, where `inputs` is a shape. Defaults to
            what a functional network declares, else to `"float32"`.
        training: Boolean. Whether the pass is one of training, in which
            tokens and blocks may be left out.
        values: Pairs `(variable, tensor)`, for variables of the network that
            hold no value of their own at the time, as inside a running `fit`.

    Returns:
        Integer, in FLOPs; the expected number where chance decides.

    Raises:
        ValueError: if a dimension is unknown.

    Example:

    >>> dense = keras.layers.Dense(4)
    >>> dense.build((None, 3))
    >>> forward_flops(dense, (2, 3))  # 2 rows x 3 x 4 x (multiply, add)
    48
    """
    if _is_shape(inputs):
        inputs = keras.KerasTensor(inputs, dtype or _input_dtype(network))
    _check_static(inputs)
    count = _Count()

    options = {"training": True} if training else {}

    def call(*args):
        count.total = 0  # torch traces again where its first way fails
        if not values:
            return network(*args, **options)
        with keras.StatelessScope(state_mapping=values):
            return network(*args, **options)

    with _counted(count):
        implementation.compute_output_spec(call, inputs)
    return round(count.total)


def training_flops(network, inputs, dtype=None, values=()):
    """Floating-point operations of one training step over one batch.

    Three times the forward pass: each contraction returns as two in the
    backward pass, one for its input's gradient and one for its weight's. Where
    weights rest, some of these are not needed, so that this is a bound from
    above. The optimizer's own work, a few operations a parameter, is not
    counted.

    Args:
        network: As in `forward_flops`.
        inputs: As in `forward_flops`.
        dtype: As in `forward_flops`.
        values: As in `forward_flops`.

    Returns:
        Integer, in FLOPs.

    Example:

    >>> dense = keras.layers.Dense(4)
    >>> dense.build((None, 3))
    >>> training_flops(dense, (2, 3))
    144
    """
    return 3 * forward_flops(network, inputs, dtype, True, values)


@contextlib.contextmanager
def scale_flops(share):
    """Context for computations that run only a fraction of the time.

    Args:
        share: Float in `[0, 1]`, how often. Contractions inside count for that
            share of themselves; contexts inside one another multiply.

    Example:

    >>> class Rarely(keras.layers.Dense):
    ...     def call(self, x):
    ...         with scale_flops(0.25):
    ...             return super().call(x)
    >>> rarely = Rarely(4)
    >>> rarely.build((None, 3))
    >>> forward_flops(rarely, (2, 3))
    12
    """
    count = getattr(_local, "count", None)
    if count is None:
        yield
        return
    before = count.share
    count.share = before * share
    try:
        yield
    finally:
        count.share = before


class _Count:
    """A running total, whether a counted operation is under way, and for how
    much of itself the next one counts."""

    def __init__(self):
        self.total = 0
        self.inside = False
        self.share = 1


def _is_shape(inputs):
    return isinstance(inputs, (tuple, list)) and not any(
        isinstance(item, keras.KerasTensor) for item in inputs
    )


def _input_dtype(network):
    declared = getattr(network, "inputs", None)
    return declared[0].dtype if declared else "float32"


def _check_static(inputs):
    for tensor in keras.tree.flatten(inputs):
        if None in tensor.shape:
            raise ValueError(
                "FLOPs need every size, the batch included. "
                f"Received: shape={tuple(tensor.shape)}"
            )


@contextlib.contextmanager
def _counted(count):
    """Makes the backend's contractions call `count`, in this thread only."""
    with _patching, contextlib.ExitStack() as stack:
        for (module, name), rule in _RULES.items():
            function = getattr(module, name)
            stack.callback(setattr, module, name, function)
            setattr(module, name, _counting(function, rule))
        _local.count = count
        stack.callback(delattr, _local, "count")
        yield


def _counting(function, rule):
    def counting(*args, **kwargs):
        count = getattr(_local, "count", None)
        if count is None or count.inside:
            return function(*args, **kwargs)
        count.inside = True
        try:
            result = function(*args, **kwargs)
        finally:
            count.inside = False
        count.total += count.share * rule(_shape(result), *args, **kwargs)
        return result

    return counting


def _shape(tensor):
    return tuple(int(size) for size in tensor.shape)


def _matmul(result, x1, x2):
    return 2 * math.prod(result) * _shape(x1)[-1]


def _tensordot(result, x1, x2, axes=2):
    shape = _shape(x1)
    if isinstance(axes, int):
        contracted = shape[len(shape) - axes :]
    else:
        first = axes[0] if isinstance(axes[0], (tuple, list)) else [axes[0]]
        contracted = [shape[axis] for axis in first]
    return 2 * math.prod(result) * math.prod(contracted)


def _einsum(result, subscripts, *operands, **kwargs):
    """Left to right, as the backends do it, two operands at a time."""
    sources, _, kept = subscripts.replace(" ", "").partition("->")
    labels = [
        _labels(source, len(operand.shape))
        for source, operand in zip(sources.split(","), operands, strict=True)
    ]
    kept = set(_labels(kept, len(result)))
    sizes = {
        label: size
        for names, operand in zip(labels, operands, strict=True)
        for label, size in zip(names, _shape(operand), strict=True)
        if size != 1
    }
    total, left = 0, set(labels[0])
    for position, right in enumerate(labels[1:], start=2):
        union = left | set(right)
        left = union & kept.union(*labels[position:])
        if union != left:  # nothing summed: elementwise, not counted
            total += 2 * math.prod(sizes.get(label, 1) for label in union)
    return total


def _labels(source, rank):
    """One label an axis; those of `...` counted from its right end."""
    before, dots, after = source.partition("...")
    free = rank - len(before) - len(after) if dots else 0
    return [*before, *(-i for i in range(free, 0, -1)), *after]


def _conv(
    result,
    inputs,
    kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    *window, channels, outputs = _shape(kernel)
    taps = _taps(
        result, inputs, window, strides, padding, data_format, dilation_rate
    )
    return 2 * result[0] * taps * channels * outputs


def _depthwise_conv(
    result,
    inputs,
    kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    *window, channels, multiplier = _shape(kernel)
    taps = _taps(
        result, inputs, window, strides, padding, data_format, dilation_rate
    )
    return 2 * result[0] * taps * channels * multiplier


def _separable_conv(
    result,
    inputs,
    depthwise_kernel,
    pointwise_kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    *window, channels, multiplier = _shape(depthwise_kernel)
    taps = _taps(
        result, inputs, window, strides, padding, data_format, dilation_rate
    )
    depthwise = result[0] * taps * channels * multiplier
    return 2 * (depthwise + math.prod(result) * _shape(pointwise_kernel)[-2])


def _taps(result, inputs, window, strides, padding, data_format, dilation):
    """Multiplications per output channel, over all positions of the kernel;
    positions outside the image are not counted."""
    first = data_format or keras.config.image_data_format()
    space = slice(2, None) if first == "channels_first" else slice(1, -1)
    total = 1
    for there, places, size, stride, step in zip(
        _shape(inputs)[space],
        result[space],
        window,
        _each(strides, window),
        _each(dilation, window),
        strict=True,
    ):
        reach = (size - 1) * step
        beyond = (places - 1) * stride + reach + 1 - there
        before = {"same": max(beyond, 0) // 2, "causal": reach}.get(padding, 0)
        total *= sum(
            0 <= place * stride - before + offset * step < there
            for place in range(places)
            for offset in range(size)
        )
    return total


def _each(value, window):
    """One number for each axis of a window."""
    return value if isinstance(value, (tuple, list)) else [value] * len(window)


def _conv_transpose(result, inputs, kernel, *args, **kwargs):
    return 2 * math.prod(_shape(inputs)) * math.prod(_shape(kernel)[:-1])


def _attention(result, query, key, value, *args, **kwargs):
    """Queries times keys, then weights times values."""
    batch, queries, heads, size = _shape(query)
    keys, value_size = _shape(key)[1], _shape(value)[-1]
    return 2 * batch * heads * queries * keys * (size + value_size)


_RULES = {
    (implementation.numpy, "matmul"): _matmul,
    (implementation.numpy, "dot"): _matmul,
    (implementation.numpy, "tensordot"): _tensordot,
    (implementation.numpy, "einsum"): _einsum,
    (implementation.nn, "conv"): _conv,
    (implementation.nn, "depthwise_conv"): _depthwise_conv,
    (implementation.nn, "separable_conv"): _separable_conv,
    (implementation.nn, "conv_transpose"): _conv_transpose,
    (implementation.nn, "dot_product_attention"): _attention,
}
