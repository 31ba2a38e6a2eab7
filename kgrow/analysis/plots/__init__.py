"""Pictures of runs and growths; they look the same on screen and in print.

Every function takes a `path` and returns it, or without one matplotlib's
figure. matplotlib is imported when a picture is drawn, not before.
"""

from kgrow.analysis.plots.loss import Curve, loss_curves, loss_over_flops
from kgrow.analysis.plots.matrices import matrix_maps
from kgrow.analysis.plots.operators import depth_maps, width_maps
from kgrow.analysis.plots.preservation import preservation_map
from kgrow.analysis.plots.style import COLOURS, STYLE, load_pyplot
from kgrow.analysis.plots.weights import norms_by_layer

__all__ = [
    "COLOURS",
    "Curve",
    "STYLE",
    "depth_maps",
    "load_pyplot",
    "loss_curves",
    "loss_over_flops",
    "matrix_maps",
    "norms_by_layer",
    "preservation_map",
    "width_maps",
]
