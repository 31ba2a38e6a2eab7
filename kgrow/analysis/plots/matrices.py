"""Draw small matrices beside each other, with their numbers."""

import numpy as np

from kgrow.analysis.plots.style import (
    SIGNED_MAP,
    STYLE,
    centred,
    finished,
    load_pyplot,
)


def matrix_maps(*rows, path=None, title=None):
    """Draws matrices with a number in each cell: a row of panels for each dict.

    White is zero; all panels share the colours.

    Args:
        *rows: dicts from names to two-dimensional arrays.
        path: optional, where to write; the suffix decides the format.
        title: string or `None`.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: there is no matrix.

    Example:

    >>> figure = matrix_maps({"P": np.eye(3, 2), "C": np.eye(3, 2)})
    >>> [axes.get_title() for axes in figure.axes]
    ['P', 'C']
    """
    if not any(rows):
        raise ValueError(
            "Arguments are dicts from names to matrices, with at least one "
            f"matrix. Received: rows={rows!r}"
        )
    pyplot = load_pyplot()
    rows = [{k: np.asarray(v) for k, v in row.items()} for row in rows]
    scale = centred(*(matrix for row in rows for matrix in row.values()))
    columns = max(len(row) for row in rows)
    with pyplot.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = pyplot.subplots(
            len(rows),
            columns,
            figsize=(2.6 * columns, 2.5 * len(rows)),
            squeeze=False,
            layout="constrained",
        )
        for places, row in zip(axes, rows, strict=True):
            for panel in places[len(row) :]:
                panel.set_axis_off()
            for panel, (name, matrix) in zip(places, row.items(), strict=False):
                image = panel.imshow(matrix, cmap=SIGNED_MAP, norm=scale)
                panel.set_title(name, fontsize=11)
                panel.set_xticks([])
                panel.set_yticks([])
                panel.spines[:].set(visible=True, color="#BBBBBB")
                write_numbers(panel, matrix, image)
        if title:
            figure.suptitle(title, fontsize=12)
        return finished(figure, path)


def write_numbers(axes, matrix, image):
    """Writes each value in its cell, dark on light and light on dark.

    Args:
        axes: matplotlib's axes.
        matrix: array, which `image` shows.
        image: matplotlib's image.
    """
    # The halves of -0.375 and -0.37499999999 would be rounded apart.
    for (row, column), value in np.ndenumerate(np.round(matrix, 9)):
        red, green, blue, _ = image.cmap(image.norm(value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        axes.text(
            column,
            row,
            f"{round(float(value), 2) + 0.0:.2f}",  # no minus before zero
            ha="center",
            va="center",
            fontsize=8,
            color="black" if light else "white",
        )
