"""Initial values drawn with numpy: the same on every backend for a seed.

Keras' initializers draw from the backend's own generator, so that the same
seed gives other weights on another backend. Growth promises the same grown
weights everywhere, so the distributions of Keras' initializers are drawn here
from `numpy.random.Generator`. `Normal` and `Constant` are plain data, for
weights that no Keras layer made.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kgrow.algebra.lazy_keras import keras, ops

# Standard deviation of a standard normal truncated at two of its own.
_TRUNCATED_STD = 0.87962566103423978


@dataclass(frozen=True)
class Normal:
    """Entries drawn from a normal distribution around zero.

    Args:
        stddev: float.
    """

    stddev: float

    def draw(
        self, shape: Sequence[int], rng: np.random.Generator
    ) -> np.ndarray:
        return np.float32(self.stddev) * _normal(shape, rng)


@dataclass(frozen=True)
class Constant:
    """Entries that are all the same.

    Args:
        value: float.
    """

    value: float

    def draw(
        self, shape: Sequence[int], rng: np.random.Generator
    ) -> np.ndarray:
        del rng
        return np.full(shape, self.value, np.float32)


_PLAIN = (Normal, Constant)


def sample(
    initializer: Any,
    shape: Sequence[int],
    dtype: Any,
    rng: np.random.Generator,
    count: int | None = None,
) -> np.ndarray:
    """Draws initial values as a Keras initializer would.

    Args:
        initializer: a `Normal` or a `Constant`, or a Keras initializer or its
            name. Those of a kind that numpy cannot draw (orthogonal, identity,
            a custom one) are called as they are, with their own seed and the
            backend's generator.
        shape: tuple.
        dtype: string.
        rng: `numpy.random.Generator`.
        count: optional int. Draws only so many entries, with the spread that
            a variable of that shape has.

    Returns:
        numpy array of that shape, or flat with `count` entries.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> sample("zeros", (2,), "float32", rng).tolist()
    [0.0, 0.0]
    """
    part = tuple(shape) if count is None else (count,)
    if isinstance(initializer, _PLAIN):
        return initializer.draw(part, rng).astype(dtype, copy=False)
    initializer = _of_keras(initializer)
    draw = _draws().get(type(initializer))
    if draw is not None:
        return draw(initializer, part, rng).astype(dtype, copy=False)
    if isinstance(initializer, keras.initializers.VarianceScaling):
        values = _variance_scaling(initializer, shape, part, rng)
        return values.astype(dtype, copy=False)
    value = np.asarray(ops.convert_to_numpy(initializer(shape, dtype=dtype)))
    value = value if count is None else value.reshape(-1)[:count]
    return value.astype(dtype, copy=False)


def is_elementwise(initializer: Any) -> bool:
    """Whether entries are drawn one by one, none by what others are.

    Example:

    >>> is_elementwise("glorot_uniform"), is_elementwise("orthogonal")
    (True, False)
    """
    if isinstance(initializer, _PLAIN):
        return True
    initializer = _of_keras(initializer)
    return type(initializer) in _draws() or isinstance(
        initializer, keras.initializers.VarianceScaling
    )


def _of_keras(initializer: Any) -> Any:
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer
    return keras.initializers.get(initializer)


def _normal(shape, rng):
    return rng.standard_normal(shape, dtype=np.float32)


def _truncated_normal(mean, std, shape, rng):
    values = _normal(shape, rng)
    outside = np.flatnonzero(np.abs(values) > 2)
    flat = values.reshape(-1)
    while outside.size:
        flat[outside] = _normal(outside.size, rng)
        outside = outside[np.abs(flat[outside]) > 2]
    values *= np.float32(std)
    values += np.float32(mean)
    return values


def _variance_scaling(initializer, shape, part, rng):
    fan_in, fan_out = _fans(shape)
    fan = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
    }[initializer.mode]
    std = math.sqrt(initializer.scale / max(1.0, fan))
    if initializer.distribution == "truncated_normal":
        return _truncated_normal(0.0, std / _TRUNCATED_STD, part, rng)
    if initializer.distribution == "untruncated_normal":
        return np.float32(std) * _normal(part, rng)
    limit = math.sqrt(3.0) * std
    return _uniform(-limit, limit, part, rng)


def _uniform(low, high, shape, rng):
    values = rng.random(shape, dtype=np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def _fans(shape):
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


@functools.cache
def _draws() -> dict[Any, Any]:
    """How entries of each kind of Keras initializer are drawn."""
    initializers = keras.initializers
    return {
        initializers.Zeros: lambda i, shape, rng: np.zeros(shape, np.float32),
        initializers.Ones: lambda i, shape, rng: np.ones(shape, np.float32),
        initializers.Constant: lambda i, shape, rng: np.full(shape, i.value),
        initializers.RandomNormal: lambda i, shape, rng: (
            np.float32(i.mean) + np.float32(i.stddev) * _normal(shape, rng)
        ),
        initializers.TruncatedNormal: lambda i, shape, rng: _truncated_normal(
            i.mean, i.stddev, shape, rng
        ),
        initializers.RandomUniform: lambda i, shape, rng: _uniform(
            i.minval, i.maxval, shape, rng
        ),
    }
