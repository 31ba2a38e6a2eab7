"""Partition feature maps into windows, and mask shifted windows."""

import numpy as np
from keras import ops


def split_windows(x, size):
    """Cuts a feature map into windows that do not overlap.

    Args:
        x: tensor of shape `(batch, height, width, features)`, whose height and
            width are known and multiples of `size`.
        size: int, height and width of a window.

    Returns:
        Tensor of shape `(batch, windows, size * size, features)`, row by row.

    Example:

    >>> x = np.arange(16).reshape(1, 4, 4, 1)
    >>> split_windows(x, 2)[0, 1, :, 0].tolist()
    [2, 3, 6, 7]
    """
    _, height, width, features = x.shape
    rows, columns = height // size, width // size
    x = ops.reshape(x, (-1, rows, size, columns, size, features))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, rows * columns, size * size, features))


def join_windows(windows, height, width):
    """The feature map that was cut into windows.

    Args:
        windows: tensor of shape `(batch, windows, size * size, features)`.
        height: int, of the feature map.
        width: int, of the feature map.

    Returns:
        Tensor of shape `(batch, height, width, features)`.

    Example:

    >>> x = np.arange(16).reshape(1, 4, 4, 1)
    >>> join_windows(split_windows(x, 2), 4, 4)[0, 1, :, 0].tolist()
    [4, 5, 6, 7]
    """
    length, features = windows.shape[2:]
    size = round(length**0.5)
    rows, columns = height // size, width // size
    x = ops.reshape(windows, (-1, rows, columns, size, size, features))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height, width, features))


def shifted_window_mask(height, width, size, shift):
    """Which tokens of a window are neighbours in the image.

    When a feature map is rolled by `shift`, its last windows hold parts from
    opposite edges, which must not attend to each other.

    Args:
        height: int, of the feature map.
        width: int, of the feature map.
        size: int, height and width of a window.
        shift: int between 0 and `size`.

    Returns:
        Boolean array of shape `(windows, size * size, size * size)`.

    Example:

    >>> mask = shifted_window_mask(4, 4, size=2, shift=1)
    >>> mask[0].all(), mask[1][0].tolist()
    (np.True_, [True, False, True, False])

    Reference:

    - Liu et al., "Swin Transformer" (2103.14030), Sec. 3.2, Figure 4.
    """
    parts = [
        np.searchsorted([n - size, n - shift], np.arange(n), side="right")
        for n in (height, width)
    ]
    regions = 3 * parts[0][:, None] + parts[1]
    regions = regions.reshape(height // size, size, width // size, size)
    regions = regions.transpose(0, 2, 1, 3).reshape(-1, size * size)
    return regions[:, :, None] == regions[:, None, :]
