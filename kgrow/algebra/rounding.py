"""How far two computations of the same value may lie apart."""

from typing import Any

import ml_dtypes
import numpy as np

_FACTOR = 4.0


def tolerance(dtype: Any, fan_in: int, depth: int = 1) -> float:
    """Relative rounding error to expect of a network computed in two ways.

    `4 * eps * sqrt(fan_in) * depth`: errors of a sum of `fan_in` terms grow
    like its square root when they are random, and add up over `depth` layers
    at worst. Multiply by the largest output for an absolute tolerance.

    Args:
        dtype: string, the dtype computed in.
        fan_in: int, the longest contraction.
        depth: int, the number of contractions in a row.

    Returns:
        float.

    Example:

    >>> tolerance("float64", 256, 4) < 1e-12 < tolerance("float32", 256, 4)
    True
    """
    eps = float(ml_dtypes.finfo(np.dtype(_numpy_dtype(dtype))).eps)
    return _FACTOR * eps * float(np.sqrt(fan_in)) * depth


def _numpy_dtype(dtype):
    return ml_dtypes.bfloat16 if str(dtype) == "bfloat16" else str(dtype)
