"""The block of Swin, over windows that are shifted in every other one."""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks
from kgrow.layers.attention.window_attention import WindowAttention
from kgrow.layers.attention.window_partition import (
    join_windows,
    shifted_window_mask,
    split_windows,
)
from kgrow.layers.dropout import Dropout
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_exact
from kgrow.layers.masked.dense import MaskedDense
from kgrow.layers.masked.layer_normalization import MaskedLayerNormalization


@keras.saving.register_keras_serializable("kgrow")
class SwinBlock(keras.layers.Layer):
    """Attention in windows and a feedforward network, each on a branch.

    Both branches normalise their input. Where the feature map is no larger
    than a window, the map is the window, and nothing is shifted.

    Args:
        num_heads: int, the number of attention heads.
        head_dim: int, the size of one head.
        intermediate_dim: int, the width of the feedforward network.
        window_size: int, height and width of a window.
        shifted: bool, whether windows are shifted by half of one.
        dropout: float in `[0, 1)`, the rate after each branch and on the
            attention weights.
        drop_path: float in `[0, 1)`, the rate at which an image goes past a
            branch in training.
        layer_norm_epsilon: float, added to the variance.
        kernel_initializer: initializer of all kernels.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(batch, height, width, features)`, whose
            height and width are known.
        training: bool or `None`.
        gates: optional dict as `Gates` makes it, of which `"hidden"`,
            `"ffn"`, `"heads"`, `"value"` and `"qk"` are used.

    Output shape:
        The same as `inputs`.

    Raises:
        GrowthError: a size is no positive integer, a rate is not in `[0, 1)`,
            or windows do not fit into the feature map.

    Example:

    >>> block = SwinBlock(2, 4, 16, window_size=2, shifted=True)
    >>> block(keras.ops.zeros((1, 4, 4, 8))).shape == (1, 4, 4, 8)
    True

    Reference:

    - Liu et al., "Swin Transformer" (2103.14030), Eq. 3, with the stochastic
      depth of Huang et al. (1603.09382). Its dropout inside the feedforward
      network stands behind it here.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        intermediate_dim,
        window_size,
        shifted=False,
        dropout=0.0,
        drop_path=0.0,
        layer_norm_epsilon=1e-5,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        integer = argument_checks.integer
        self.num_heads = integer("num_heads", num_heads)
        self.head_dim = integer("head_dim", head_dim)
        self.intermediate_dim = integer("intermediate_dim", intermediate_dim)
        self.window_size = integer("window_size", window_size)
        self.shifted = bool(shifted)
        self.dropout = argument_checks.rate("dropout", dropout)
        self.drop_path = argument_checks.rate("drop_path", drop_path)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        height, width = input_shape[1:3]
        self._size = fitting_window(height, width, self.window_size)
        shift = self.shifted and self._size < min(height, width)
        self._shift = self._size // 2 if shift else 0
        self._mask = None
        if self._shift:
            self._mask = shifted_window_mask(
                height, width, self._size, self._shift
            )
        self.self_attention_layer_norm = self._norm("self_attention_layer_norm")
        self.self_attention_layer_norm.build(input_shape)
        self.self_attention = WindowAttention(
            self.num_heads,
            self.head_dim,
            self._size,
            dropout=self.dropout,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="self_attention",
        )
        features = input_shape[-1]
        self.self_attention.build((None, None, self._size**2, features))
        self.self_attention_dropout = self._dropout("self_attention_dropout")
        self.self_attention_drop_path = self._drop_path(
            "self_attention_drop_path"
        )
        self.feedforward_layer_norm = self._norm("feedforward_layer_norm")
        self.feedforward_layer_norm.build(input_shape)
        self.feedforward_intermediate_dense = self._dense(
            self.intermediate_dim, "feedforward_intermediate_dense", gelu_exact
        )
        self.feedforward_intermediate_dense.build(input_shape)
        self.feedforward_output_dense = self._dense(
            features, "feedforward_output_dense"
        )
        self.feedforward_output_dense.build(
            (*input_shape[:-1], self.intermediate_dim)
        )
        self.feedforward_dropout = self._dropout("feedforward_dropout")
        self.feedforward_drop_path = self._drop_path("feedforward_drop_path")

    def _norm(self, name):
        return MaskedLayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def _dense(self, units, name, activation=None):
        return MaskedDense(
            units,
            activation=activation,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def _dropout(self, name):
        layer = Dropout(self.dropout, dtype=self.dtype_policy, name=name)
        layer.build()
        return layer

    def _drop_path(self, name):
        # One draw an image, for all of its tokens and features.
        layer = Dropout(
            self.drop_path,
            noise_shape=(None, 1, 1, 1),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build()
        return layer

    @float64_exact
    def call(self, inputs, training=None, gates=None):
        gates = gates or {}
        stream = gates.get("hidden")
        x = self.self_attention_layer_norm(inputs, gate=stream)
        x = self._attend(x, training, gates)
        x = self.self_attention_dropout(x, training=training)
        x = self.self_attention_drop_path(x, training=training)
        residual = x = inputs + x
        x = self.feedforward_layer_norm(x, gate=stream)
        x = self.feedforward_intermediate_dense(x, gate=gates.get("ffn"))
        x = self.feedforward_output_dense(x)
        x = self.feedforward_dropout(x, training=training)
        return residual + self.feedforward_drop_path(x, training=training)

    def _attend(self, x, training, gates):
        _, height, width, _ = x.shape
        shift = self._shift
        if shift:
            x = ops.roll(x, (-shift, -shift), axis=(1, 2))
        x = self.self_attention(
            split_windows(x, self._size),
            attention_mask=self._mask,
            training=training,
            gates=gates,
        )
        x = join_windows(x, height, width)
        return ops.roll(x, (shift, shift), axis=(1, 2)) if shift else x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "intermediate_dim": self.intermediate_dim,
            "window_size": self.window_size,
            "shifted": self.shifted,
            "dropout": self.dropout,
            "drop_path": self.drop_path,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }


def fitting_window(height, width, window_size):
    """The size of windows in a feature map: as given, or that of the map.

    Args:
        height: int, of the feature map.
        width: int, of the feature map.
        window_size: int, the size asked for.

    Raises:
        GrowthError: the map is no whole number of windows.

    Example:

    >>> fitting_window(14, 14, 7), fitting_window(4, 4, 7)
    (7, 4)
    """
    size = min(height, width, window_size)
    if height % size or width % size:
        raise GrowthError(
            f"Feature maps are cut into whole windows. Choose an `image_size` "
            "or a `window_size` with which they are. Received: a map of "
            f"{height} x {width}, window_size={window_size}"
        )
    return size
