"""The block of a residual convolutional network."""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.batch_normalization import MaskedBatchNormalization
from kgrow.layers.masked.conv2d import MaskedConv2D


@keras.saving.register_keras_serializable("kgrow")
class ResNetBlock(keras.layers.Layer):
    """Convolutions with batch norms on a residual branch, and a relu.

    `relu(shortcut(x) + branch(x))`. The basic branch has two convolutions, 3
    x 3; the bottleneck three, 1 x 1, 3 x 3 and 1 x 1. Each is followed by a
    batch norm, and all but the last of these by a relu. What comes in has
    passed a relu as well, so that a block whose last norm multiplies by zero
    and adds zero is the identity.

    Args:
        filters: int, the number of channels that it puts out.
        inner_filters: int, the number inside the branch.
        bottleneck: bool, which of the two branches.
        projection: bool, whether the shortcut is a convolution, 1 x 1, with a
            norm. Without one the block has as many channels as its inputs.
        strides: int, what height and width are divided by; more than 1 only
            with a projection.
        epsilon: float, added to the variances.
        momentum: float, of the moving averages of mean and variance.
        kernel_initializer: initializer of all kernels.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(batch, height, width, channels)`.
        training: bool or `None`.
        gates: optional dict as `Gates` makes it, of which `"filters"` and
            `"inner_1"` and, with a bottleneck, `"inner_2"` are used.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        GrowthError: a size is no positive integer, or the shortcut cannot be
            the identity and there is no projection.

    Example:

    >>> block = ResNetBlock(8, 4, projection=True, strides=2)
    >>> block(keras.ops.zeros((1, 6, 6, 3))).shape == (1, 3, 3, 8)
    True

    Reference:

    - He et al., "Deep Residual Learning" (1512.03385), Figures 2 and 5. The
      stride of a bottleneck is that of its 3 x 3 convolution, as in the
      networks of torchvision; in the paper that of the first, 1 x 1.
    """

    def __init__(
        self,
        filters,
        inner_filters,
        bottleneck=False,
        projection=False,
        strides=1,
        epsilon=1e-5,
        momentum=0.9,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = argument_checks.integer("filters", filters)
        self.inner_filters = argument_checks.integer(
            "inner_filters", inner_filters
        )
        self.bottleneck = bool(bottleneck)
        self.projection = bool(projection)
        self.strides = argument_checks.integer("strides", strides)
        self.epsilon = epsilon
        self.momentum = momentum
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if self.strides > 1 and not self.projection:
            raise GrowthError(
                "A block with a stride needs a projection on its shortcut. "
                f"Received: strides={strides}, projection=False"
            )

    def build(self, input_shape):
        if not self.projection and input_shape[-1] != self.filters:
            raise GrowthError(
                "A block without a projection puts out as many channels as "
                f"come in. Received: filters={self.filters}, inputs of shape "
                f"{input_shape}"
            )
        inner, outer, strides = self.inner_filters, self.filters, self.strides
        convolutions = (
            [(inner, 1, 1), (inner, 3, strides), (outer, 1, 1)]
            if self.bottleneck
            else [(inner, 3, strides), (outer, 3, 1)]
        )
        shape = input_shape
        for number, sizes in enumerate(convolutions, 1):
            shape = self._add(str(number), shape, *sizes)
        if self.projection:
            self._add("shortcut", input_shape, outer, 1, strides)

    def _add(self, name, input_shape, filters, size, strides):
        conv = MaskedConv2D(
            filters,
            size,
            strides=strides,
            padding="centered",
            use_bias=False,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=f"conv_{name}",
        )
        conv.build(input_shape)
        shape = conv.compute_output_shape(input_shape)
        norm = MaskedBatchNormalization(
            epsilon=self.epsilon,
            momentum=self.momentum,
            dtype=self.dtype_policy,
            name=f"norm_{name}",
        )
        norm.build(shape)
        # As attributes of their own, whose names Keras saves them under.
        setattr(self, conv.name, conv)
        setattr(self, norm.name, norm)
        return shape

    @float64_exact
    def call(self, inputs, training=None, gates=None):
        gates = gates or {}
        x, last = inputs, 3 if self.bottleneck else 2
        for number in range(1, last):
            gate = gates.get(f"inner_{number}")
            x = ops.relu(self._apply(str(number), x, training, gate))
        x = self._apply(str(last), x, training, gates.get("filters"))
        if self.projection:
            inputs = self._apply(
                "shortcut", inputs, training, gates.get("filters")
            )
        return ops.relu(x + inputs)

    def _apply(self, name, x, training, gate):
        x = getattr(self, f"conv_{name}")(x)
        norm = getattr(self, f"norm_{name}")
        return norm(x, training=training, gate=gate)

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        sizes = [None if n is None else -(-n // self.strides) for n in sizes]
        return (batch, *sizes, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "inner_filters": self.inner_filters,
            "bottleneck": self.bottleneck,
            "projection": self.projection,
            "strides": self.strides,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }
