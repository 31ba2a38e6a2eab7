"""Style shared by all plots: print, screen and colour vision.

Colours are those that colour-blind readers tell apart; lines differ by their
dashes as well and points by their markers, so that a grey print can be read.
"""

import pathlib
import re

import numpy as np

# Okabe and Ito's colours but for their yellow, which is too light for lines;
# then six darker ones, mostly Tol's, for up to twelve runs.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#882255",
    "#332288",
    "#999933",
    "#6B3E1F",
    "#44AA99",
    "#CC3311",
)
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
# Without the triangle that points up, which marks growths.
MARKERS = ("o", "s", "D", "v", "P", "X", "<", "*", ">", "p", "h", "d")
# White at zero; purple and orange differ for all kinds of colour vision.
SIGNED_MAP = "PuOr"
GREY = "#6E6E6E"

STYLE = {
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "axes.formatter.use_mathtext": True,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def literal(text):
    """A name as it is: matplotlib reads text between `$` as maths.

    Example:

    >>> literal("lr $10$")
    'lr \\\\$10\\\\$'
    """
    return text.replace("$", r"\$")


def load_pyplot():
    """matplotlib's `pyplot`, or an error that says how to get it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib. Install it with: pip install matplotlib"
        ) from error
    # Load the backend first: a notebook's backend switches to interactive mode
    # when it loads, and leaving `rc_context()` would undo that.
    pyplot.draw_if_interactive()
    return pyplot


def finished(figure, path):
    """Writes and closes the figure if there is a path, or returns it.

    Args:
        figure: matplotlib's figure.
        path: where to write, or `None`; the suffix decides the format.

    Returns:
        `pathlib.Path`, or `figure`.
    """
    if path is None:
        return figure
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    load_pyplot().close(figure)
    return path


def look(index):
    """Colour, dashes and marker of a line.

    The first 144 differ in colour or marker, the first twelve in both.

    Example:

    >>> look(0)
    {'color': '#0072B2', 'linestyle': '-', 'marker': 'o'}
    """
    turn = index // len(COLOURS)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[(index + turn) % len(MARKERS)],
    }


def centred(*matrices):
    """A norm of colours with zero in its middle, for signed values.

    Args:
        *matrices: arrays that share the norm.

    Returns:
        matplotlib's `CenteredNorm`.

    Example:

    >>> norm = centred([[-1.0, 3.0]])
    >>> norm.vmin, norm.vmax
    (-3.0, 3.0)
    """
    from matplotlib import colors

    far = max(float(np.abs(matrix).max()) for matrix in matrices)
    return colors.CenteredNorm(halfrange=far or 1.0)


def wrapped(name, width):
    """A path or an identifier in lines of about `width` letters.

    Example:

    >>> wrapped("feedforward_intermediate_dense", 20)
    'feedforward_\\nintermediate_dense'
    """
    lines = [""]
    for part in re.findall(r"[^_/ ]+[_/ ]?|[_/ ]", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def short(number):
    """A count as one writes it on an axis.

    Example:

    >>> short(200_000), short(1_500_000_000), short(7)
    ('200k', '1.5B', '7')
    """
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
