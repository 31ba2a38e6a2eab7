"""Does the grown network compute what the old one did? Run both and look."""

import keras
import numpy as np
from keras import ops

from kgrow import backend
from kgrow.algebra.contraction import contract
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plain_data import short
from kgrow.algebra.rounding import tolerance
from kgrow.backend import forward, is_spread

_BATCH = 2
_LENGTH = 16


def make_probe(network, spec, seed=0):
    """Inputs for a network, from what it says of itself.

    Floats are drawn from a normal distribution; integers below the smallest
    dimension that is looked up. Open lengths become 16, or that dimension if
    it is smaller: it may be that of the positions.

    Raises:
        GrowthError: the network does not say what it takes.
    """
    inputs = getattr(network, "example_inputs", None)
    if inputs is not None:
        return inputs(_BATCH, seed)
    inputs = symbolic_inputs(network)
    if inputs is None:
        raise GrowthError(
            f"The network {network.name!r} does not say what inputs it takes. "
            "Pass some to compare outputs on: grow(..., probe=inputs)."
        )
    rng = np.random.default_rng(seed)
    looked_up = [
        spec.sizes[name]
        for name, dim in spec.dims.items()
        if dim.kind == "lookup"
    ]
    high = min(looked_up, default=2)
    length = min([_LENGTH, *looked_up])

    def draw(tensor):
        shape = [length if s is None else s for s in tensor.shape[1:]]
        shape = (_BATCH, *shape)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if keras.backend.is_float_dtype(dtype):
            return rng.standard_normal(shape).astype(dtype)
        return rng.integers(0, high, shape).astype(dtype)

    return keras.tree.map_structure(draw, inputs)


def symbolic_inputs(network):
    """The structure of `keras.Input`s of a network that is made of some."""
    if isinstance(network, keras.Sequential):
        return network.inputs[0] if network.inputs else None
    return getattr(network, "_inputs_struct", None)


def run(network, inputs):
    """The network's outputs on the probe, `[numpy array, ...]`; of a network
    that lies on several devices, arrays that lie there too.

    Raises:
        GrowthError: the probe does not fit the network.
    """
    outputs = _outputs(network, inputs)
    outputs = keras.tree.flatten(outputs)
    return [o if is_spread(o) else np.asarray(o) for o in outputs]


def _outputs(network, inputs, forward=forward):
    """The same in the network's own structure."""
    try:
        inputs = keras.tree.map_structure(backend.as_batch, inputs)
    except Exception as error:
        raise GrowthError(
            "The inputs must be arrays of numbers, or structures of these, as "
            f"the model takes them: {error}. Received: "
            f"{short(inputs)} (of type {type(inputs).__name__})"
        ) from error
    try:
        return forward(network, inputs)
    except Exception as error:
        shapes = keras.tree.map_structure(
            lambda x: (tuple(x.shape), str(x.dtype)), inputs
        )
        raise GrowthError(
            f"The inputs do not fit the model {network.name!r}: {error}\n"
            f"Received: inputs of (shape, dtype) {shapes}"
        ) from error


def difference(before, after, plan):
    """Largest absolute difference of outputs, and relative to the largest.

    Where an axis of the output grew, what the old output says of the grown one
    is compared.

    Raises:
        GrowthError: an output changed its shape and the axes do not say how.
    """
    worst, scale = 0.0, 0.0
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if is_spread(old) or is_spread(new):
            old, new = (ops.cast(o, "float32") for o in (old, new))
        else:
            old = old.astype("float64", copy=False)
            new = new.astype("float64", copy=False)
        if old.shape != new.shape:
            old, new = aligned(old, new, plan, place)
        if not largest(old) < np.inf:
            raise GrowthError(
                "The model's outputs are not finite before the growth, so "
                "there is nothing to keep. Go back to a checkpoint of before "
                "the training diverged."
            )
        worst = max(worst, largest(new - old))
        scale = max(scale, largest(old))
    tiny = float(np.finfo("float32").tiny)
    return float(worst), float(worst / max(scale, tiny))


def largest(values):
    """The largest absolute value of an array, infinite if one is not finite."""
    if not isinstance(values, np.ndarray):
        size = float(ops.max(ops.abs(values), initial=0.0))
    else:
        size = float(np.max(np.abs(values), initial=0.0))
    return size if np.isfinite(size) else float("inf")


def aligned(old, new, plan, place):
    """What an old output says of the grown one, and that part of it.

    Args:
        old: numpy array, the output before.
        new: numpy array, the output after.
        plan: `Plan`.
        place: int, which of the network's outputs it is.

    Raises:
        GrowthError: it changed its shape and the axes do not say how.
    """
    outputs, shapes = plan.source.outputs or (), (old.shape, new.shape)
    axes = outputs[place] if place < len(outputs) else None
    if axes is not None and len(axes) == old.ndim:
        for axis, m in enumerate(_axis_map(plan, axes, a) for a in axes):
            if m is None or m.source != old.shape[axis]:
                continue
            old = contract(old, [None] * axis + [m])
            if m.unwritten.size:
                kept = np.setdiff1d(np.arange(m.target), m.unwritten)
                take = np.take if isinstance(old, np.ndarray) else ops.take
                old, new = (take(o, kept, axis=axis) for o in (old, new))
    if old.shape != new.shape:
        raise GrowthError(
            f"The growth changes the output from shape {shapes[0]} to "
            f"{shapes[1]}. If that is meant, name its axes: AxisMap(..., "
            f"outputs='_ _ -> vocab'). Received: outputs='{axes}'"
        )
    return old, new


def _axis_map(plan, axes, axis):
    """The map of an output axis that is one dimension, if that grows."""
    if len(axis.factors) != 1 or not plan.terms:
        return None
    e = plan.terms[0].width(axis.factors[0], 0)
    if e is None:
        return None
    # The output of a norm grows as its offset does.
    return e.offset.value if axes.offset else e.produce


def expected_rounding(network, spec):
    """Relative difference that rounding alone explains."""
    depth = 1 + sum(spec.depths.values())
    dtype = network.dtype_policy.compute_dtype
    return tolerance(dtype, longest_sum(spec), depth)


def longest_sum(spec):
    """How many terms the longest sum of a network has."""
    sizes = [
        size
        for name, size in spec.sizes.items()
        if spec.dims[name].kind != "lookup"
    ]
    shapes = [max(v.shape, default=1) for v in spec.variables.values()]
    return max(sizes, default=max(shapes))


def batch_loss(loss_with, network, batch):
    """The loss of a network on one batch `(x, y[, weights])`, with its own
    penalties.

    Args:
        loss_with: function, see `NetworkTraining.loss_with()`.
        network: a `keras.Model`.
        batch: tuple.

    Raises:
        GrowthError: the batch does not fit the model or its loss.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    y_pred, penalties = _outputs(network, x, backend.forward_and_losses)
    y_pred = keras.tree.map_structure(keras.ops.convert_to_tensor, y_pred)
    if weights is not None:
        weights = keras.tree.map_structure(backend.as_batch, weights)
    outputs = keras.tree.flatten(y_pred)
    try:
        with keras.StatelessScope():
            # Trackers inside the compiled loss must not see this batch.
            loss = loss_with(
                network,
                x,
                keras.tree.map_structure(backend.as_batch, y),
                y_pred,
                weights,
                training=False,
                penalties=penalties,
            )
        return float(keras.ops.convert_to_numpy(loss))
    except Exception as error:
        shapes = keras.tree.map_structure(lambda a: tuple(a.shape), y)
        raise GrowthError(
            "The targets in `data` do not fit the model's outputs and its "
            f"loss: {error}\nReceived: targets of shape {shapes}, outputs of "
            f"shape {[tuple(o.shape) for o in outputs]}"
        ) from error
