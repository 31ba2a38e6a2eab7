"""The norms of a network's weights, layer by layer, before and after."""

import collections
import math
import re

from kgrow.analysis.plots.style import (
    COLOURS,
    STYLE,
    finished,
    load_pyplot,
    wrapped,
)

_BEFORE = {
    "color": COLOURS[1],
    "marker": "o",
    "linestyle": (0, (4, 2)),
    "markerfacecolor": "white",
    "markersize": 8,
}
_AFTER = {
    "color": COLOURS[0],
    "marker": "s",
    "linestyle": "-",
    "markersize": 5,
}


def norms_by_layer(
    before, after, path=None, title="Norms of the weights, before and after"
):
    """Draws the Frobenius norm of every weight matrix before and after.

    One panel for each kind of variable in a block, over the block's number;
    and one for the variables outside the blocks.

    Args:
        before: dict from paths to lists of numbers, one a block, as
            `kgrow.analysis.norms.weight_norms(model)` makes it.
        after: the same, afterwards.
        path: optional, where to write; the suffix decides the format.
        title: string or `None`.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: the two are not of one model.

    Example:

    >>> figure = norms_by_layer({"b_{n}/kernel": [1.0]},
    ...     {"b_{n}/kernel": [1.0, 1.5]})
    >>> figure.axes[0].get_xlabel()
    'block'
    """
    if not after or not set(before) <= set(after):
        raise ValueError(
            "Arguments `before` and `after` are the norms of one model, at two "
            f"times. Received: before of {sorted(before)}, after of "
            f"{sorted(after)}"
        )
    pyplot = load_pyplot()
    inside = [name for name in after if "{" in name]
    outside = [name for name in after if "{" not in name]
    panels = len(inside) + bool(outside)
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    with pyplot.rc_context(STYLE):
        figure = pyplot.figure(
            figsize=(0.8 + 2.7 * columns, 1.1 + 2.0 * rows),
            layout="constrained",
        )
        grid = figure.add_gridspec(rows, columns)
        titles = _titles(inside)
        for number, name in enumerate(inside):
            axes = figure.add_subplot(grid[divmod(number, columns)])
            _draw_blocks(axes, titles[name], before.get(name, ()), after[name])
            if number % columns == 0:
                axes.set_ylabel("Frobenius norm", fontsize=11)
        if outside:
            # The last panel has the places that are left in its row.
            row, first = divmod(len(inside), columns)
            axes = figure.add_subplot(grid[row, first:])
            _draw_outside(axes, outside, before, after)
        _name_times(figure.axes[0])
        if title:
            figure.suptitle(title, fontsize=12)
        return finished(figure, path)


def _draw_blocks(axes, title, before, after):
    axes.plot(range(len(before)), before, zorder=3, **_BEFORE)
    axes.plot(range(len(after)), after, zorder=2, **_AFTER)
    axes.set_title(wrapped(title, 24), fontsize=10, loc="left")
    axes.set_ylim(0, 1.15 * max([*before, *after, 1e-12]))
    axes.set_xlim(-0.4, len(after) - 0.6)
    axes.set_xticks(range(0, len(after), math.ceil(len(after) / 8)))
    axes.set_xlabel("block", fontsize=11)
    axes.grid(axis="x", visible=False)


def _name_times(axes):
    """A legend over the first panel; both looks are the same in all."""
    handles = [
        axes.plot([], [], label="before", **_BEFORE)[0],
        axes.plot([], [], label="after", **_AFTER)[0],
    ]
    axes.figure.legend(
        handles=handles, loc="outside upper right", ncols=2, fontsize=11
    )


def _draw_outside(axes, names, before, after):
    for row, name in enumerate(names):
        pair = [*before.get(name, ()), *after[name]]
        axes.plot(pair, [row] * len(pair), color="#BBBBBB", zorder=1)
        for values, style in (
            (before.get(name, ()), _BEFORE),
            (after[name], _AFTER),
        ):
            marks = {**style, "linestyle": "none"}
            axes.plot(values, [row] * len(values), zorder=3, **marks)
        axes.annotate(
            _short(name),
            xy=(0, row + 0.16),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=9,
            va="bottom",
        )
    axes.set_yticks([])
    axes.set_ylim(-0.4, len(names) - 0.2)
    axes.set_xlim(left=0)
    axes.margins(x=0.1)
    axes.set_xlabel("Frobenius norm", fontsize=11)
    axes.set_ylabel("variable", fontsize=11)
    axes.set_title("outside the blocks", fontsize=10, loc="left")
    axes.grid(axis="y", visible=False)


def _titles(names):
    """Distinct titles for the variables of a block.

    Example:

    >>> _titles(["b_{n}/up/kernel", "b_{n}/down/kernel"]).values()
    dict_values(['up', 'down'])
    >>> _titles(["b_{n}_up/kernel", "b_{n}_down/kernel"]).values()
    dict_values(['b_n_up', 'b_n_down'])
    """
    titles = {name: _short(name) for name in names}
    counts = collections.Counter(titles.values())
    return {
        # The distinguishing part of the path is next to the block's number, or
        # before it.
        name: title
        if counts[title] == 1
        else _short(re.sub(r"\{\w+\}", "n", name), parts=None)
        for name, title in titles.items()
    }


def _short(name, parts=2):
    """The part of a path that identifies the variable.

    Example:

    >>> _short("block_{n}/attention/query/kernel")
    'attention/query'
    """
    words = [word for word in name.split("/") if "{" not in word]
    if len(words) > 1 and words[-1] in ("kernel", "embeddings"):
        words = words[:-1]
    return "/".join(words if parts is None else words[-parts:])
