"""Names beside the points and line ends that they belong to.

A reader finds a name faster at its line than in a legend.
"""

import numpy as np


def spread_out(values, gap, lowest, highest):
    """Places for labels near sorted values, at least a gap apart.

    The places whose squared distances to the values are least: labels that
    would touch move apart to both sides.

    Args:
        values: sorted list of numbers.
        gap: number, the least distance between two places.
        lowest: number, the least of all places, where they have room.
        highest: number that no place exceeds, where they have room.

    Returns:
        list of as many floats.

    Example:

    >>> spread_out([1.0, 1.5, 5.0], gap=1, lowest=0, highest=5)
    [0.75, 1.75, 5.0]
    >>> spread_out([4.0, 4.5, 5.0], gap=1, lowest=0, highest=5)
    [3.0, 4.0, 5.0]
    """
    # Without the gaps the places have to be sorted: isotonic regression, by
    # pooling neighbours that are not.
    pools = []
    for index, value in enumerate(values):
        pools.append([value - index * gap, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, count), (other, more) = pools[-2:]
            total = count + more
            pools[-2:] = [[(mean * count + other * more) / total, total]]
    sorted_places = np.repeat(
        [mean for mean, _ in pools], [count for _, count in pools]
    )
    room = max(highest - (len(values) - 1) * gap, lowest)
    places = np.clip(sorted_places, lowest, room)
    return [float(p) for p in places + gap * np.arange(len(values))]


def name_points(axes, points, styles, fontsize=10, x=1.03):
    """Writes names in a column right of the axes, each with a line to its
    point.

    The limits of the axes have to be final.

    Args:
        axes: matplotlib's axes.
        points: dict from names to `(x, y)` in data coordinates.
        styles: dict from names to dicts with `color` and `marker`.
        fontsize: number, in points.
        x: number, where the column begins, in fractions of the axes.
    """
    places = _places(axes, points, fontsize)
    to_data = axes.transData + axes.transAxes.inverted()
    for name, place in places.items():
        style = styles[name]
        at = to_data.transform(points[name])
        axes.plot(
            [at[0], x],
            [at[1], place],
            color=style["color"],
            linewidth=0.6,
            alpha=0.6,
            transform=axes.transAxes,
            clip_on=False,
            zorder=1.5,
            label="_leader",
        )
        axes.plot(
            x + 0.015,
            place,
            style["marker"],
            color=style["color"],
            markersize=6,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.annotate(
            name,
            xy=(x + 0.04, place),
            xycoords="axes fraction",
            va="center",
            color=style["color"],
            fontsize=fontsize,
        )


def _places(axes, points, fontsize):
    """`{name: height}` in fractions of the axes."""
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = {
        name: float(to_axes.transform(point)[1])
        for name, point in points.items()
    }
    inches = axes.get_window_extent().height / axes.figure.dpi
    gap = 1.35 * fontsize / 72 / inches
    names = sorted(heights, key=heights.get)
    places = spread_out([heights[name] for name in names], gap, 0.0, 1.0)
    return dict(zip(names, places, strict=True))
