"""Plot learned operators as heat maps."""

import math
import re

import numpy as np

from kgrow.analysis.plots.matrices import write_numbers
from kgrow.analysis.plots.style import (
    SIGNED_MAP,
    STYLE,
    centred,
    finished,
    load_pyplot,
    wrapped,
)

_BLOCK = re.compile(r"/(\d+)$")
_MOST_ROWS = 4
_TITLE_WIDTH = 4.4  # inches
# Cells this many at most have room for their numbers.
_WRITTEN = 8
# Cells this many at most have room for a dot.
_DOTTED = 48
# Negative values beyond this part of the largest have a dot.
_CLEARLY_NEGATIVE = 0.1


def width_maps(
    before,
    after,
    path=None,
    names=None,
    title="Weight of each old unit in each new one",
):
    """Draws maps of width: as they started, as they were learned, the change.

    A row of a map is a new unit, a column an old one. White is zero; where
    cells have room, a dot marks negative values, which a grey print could not
    tell from positive ones.

    Args:
        before: dict from names to arrays, an operator's parameters as they
            started; see `kgrow.callbacks.OperatorRecord`.
        after: the same, learned.
        path: optional, where to write; the suffix decides the format.
        names: optional list of the maps to draw, such as `["hidden"]`; by
            default the first four, of the first block where each has its own.
        title: string or `None`.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: there is no such map.

    Example:

    >>> start = {"hidden/produce": np.eye(3, 2)}
    >>> figure = width_maps(start, {"hidden/produce": np.ones((3, 2))})
    >>> figure.axes[1].get_title()
    'learned'
    """
    pyplot = load_pyplot()
    old, new = _widths(before), _widths(after)
    names = _chosen(names, old)
    with pyplot.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = pyplot.subplots(
            nrows=len(names),
            ncols=3,
            figsize=(8.2, 0.5 + 2.6 * len(names)),
            squeeze=False,
            layout="constrained",
        )
        for row, name in zip(axes, names, strict=True):
            start, end = old[name], new[name]
            change = end - start
            scale = centred(start, end)
            left = _show(row[0], start, scale)
            _show(row[1], end, scale)
            right = _show(row[2], change, centred(change))
            for panel, matrix in zip(row, (start, end, change), strict=True):
                _dot_negatives(panel, matrix)
            figure.colorbar(left, ax=row[:2], shrink=0.9, label="weight")
            figure.colorbar(right, ax=row[2], shrink=0.9, label="change")
            row[0].set_ylabel(f"{_readable(name)}\nnew unit")
            for panel in row[1:]:
                panel.tick_params(labelleft=False)
        for panel, head in zip(
            axes[0], ("start", "learned", "learned − start"), strict=True
        ):
            panel.set_title(head, fontsize=12)
        for panel in axes[-1]:
            panel.set_xlabel("old unit")
        if title:
            figure.suptitle(title, fontsize=12)
        return finished(figure, path)


def depth_maps(
    after, path=None, title="Weight of each old block in each new one"
):
    """Draws of which old blocks each new block was learned to be made.

    One heat map for each kind of variable in a block: a row is a new block, a
    column an old one. White is zero.

    Args:
        after: dict from names to arrays, an operator's parameters.
        path: optional, where to write; the suffix decides the format.
        title: string or `None`.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: the operator has no weights of depth.

    Example:

    >>> figure = depth_maps({"block_{n}/kernel/depth": np.eye(4, 2)})
    >>> figure.axes[0].get_ylabel()
    'new block'
    """
    pyplot = load_pyplot()
    maps = _depths(after)
    if not maps:
        raise ValueError(
            "The operator has no weights of depth: the growth it was learned "
            f"for adds no blocks. Received: {sorted(after)}"
        )
    columns = min(4, len(maps))
    rows = math.ceil(len(maps) / columns)
    new, old = next(iter(maps.values())).shape
    cell = 0.36 if max(new, old) <= _WRITTEN else 3.2 / max(new, old)
    titles = [_short(name) for name in maps]
    lines = max(title.count("\n") + 1 for title in titles)
    scale = centred(*maps.values())
    with pyplot.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = pyplot.subplots(
            nrows=rows,
            ncols=columns,
            figsize=(
                max(_TITLE_WIDTH, 1.2 + columns * max(1.6, cell * old + 0.4)),
                0.6 + rows * (cell * new + 0.16 * lines + 0.15),
            ),
            squeeze=False,
            layout="constrained",
        )
        for panel, said, matrix in zip(
            axes.flat, titles, maps.values(), strict=False
        ):
            image = _show(panel, matrix, scale)
            panel.set_title(said, fontsize=9)
            panel.set_xticks(range(old))
            panel.set_yticks(range(new))
            if max(new, old) <= _WRITTEN:
                write_numbers(panel, matrix, image)
        for panel in axes.flat[len(maps) :]:
            panel.set_axis_off()
        for index, panel in enumerate(axes.flat[: len(maps)]):
            if index % columns:
                panel.tick_params(labelleft=False)
            else:
                panel.set_ylabel("new block", fontsize=10)
            if index + columns < len(maps):
                panel.tick_params(labelbottom=False)
            else:
                panel.set_xlabel("old block", fontsize=10)
        first = axes.flat[0].images[0]  # All have one range.
        figure.colorbar(first, ax=axes, shrink=0.6, aspect=30, label="weight")
        if title:
            figure.suptitle(title, fontsize=12)
        return finished(figure, path)


def _widths(parameters):
    """The maps of width among an operator's parameters, by name: matrices
    `.../produce`, and the cores of a ring, from old to new, turned."""
    found = {}
    for name, value in parameters.items():
        value = np.asarray(value)
        if name.endswith("/produce"):
            found[name.removesuffix("/produce")] = value
        elif value.ndim == 4 and not name.endswith("/layers"):
            found[name] = value[0, :, :, 0].T
    return found


def _depths(parameters):
    found = {}
    for name, value in parameters.items():
        value = np.asarray(value)
        if name.endswith("/depth"):
            found[name.removesuffix("/depth")] = value
        elif value.ndim == 4 and name.endswith("/layers"):
            found[name] = value[0, :, :, 0].T
    return found


def _chosen(names, maps):
    if names is None:
        blocks = {name: _BLOCK.search(name) for name in maps}
        first = [
            n for n, found in blocks.items() if not found or found[1] == "0"
        ]
        names = first[:_MOST_ROWS]
    unknown = [name for name in names if name not in maps]
    if unknown or not names:
        raise ValueError(
            f"Argument `names` is a list of some of {sorted(maps)}. Received: "
            f"names={names!r}"
        )
    return list(names)


def _show(axes, matrix, scale):
    image = axes.imshow(
        matrix,
        cmap=SIGNED_MAP,
        norm=scale,
        aspect="equal",
        interpolation="nearest",
    )
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")  # zero is as white as the page
    axes.tick_params(length=2)
    return image


def _dot_negatives(axes, matrix):
    """A dot in each cell that is clearly negative, where dots have room."""
    if max(matrix.shape) > _DOTTED:
        return
    far = np.abs(matrix).max()
    rows, columns = np.nonzero(matrix < -_CLEARLY_NEGATIVE * far)
    if len(rows):
        axes.plot(
            columns, rows, ".", color="black", markersize=2, label="negative"
        )


def _readable(name):
    """A map's name as a label.

    Example:

    >>> _readable("heads*value/0"), _readable("hidden")
    ('heads × value, block 0', 'hidden')
    """
    name = _BLOCK.sub(r", block \1", name)
    return name.replace("*", " × ")


def _short(template):
    """The part of a path that says which variable of a block it is.

    Example:

    >>> _short("layer_{layers}/self_attention/attention_output/kernel")
    'attention_output\\nkernel'
    """
    parts = [p for p in template.split("/") if "{" not in p] or [template]
    return "\n".join(wrapped(part, 18) for part in parts[-2:])
