"""Compares the outputs of a network before and after a growth."""

import dataclasses
import inspect

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.rounding import tolerance
from kgrow.architecture.full_precision import full_precision, is_mixed
from kgrow.architecture.output_check import (
    difference,
    expected_rounding,
    largest,
    longest_sum,
    run,
)
from kgrow.backend import is_spread

# More than this is no rounding that a user would accept.
_WEAK = 0.01


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Outputs of a network before and after a growth.

    Attributes:
        absolute: float, their largest difference.
        relative: float, the same over the largest output.
        tolerance: float, the relative difference that rounding explains.
        head: float, the relative difference of what a head makes of them that
            reads the network's embedding in reverse; zero where there is none.
        outputs_grew: bool, whether there are more outputs than before.
        notes: `{what: reason}`, what the comparison does not show.
    """

    absolute: float
    relative: float
    tolerance: float
    head: float
    outputs_grew: bool
    notes: dict


def compare(old, new, inputs, plan):
    """Runs both networks and compares their outputs.

    Args:
        old: the network before.
        new: the grown network.
        inputs: structure of arrays, the inputs of both.
        plan: `Plan` from the one to the other.

    Returns:
        `Comparison`.

    Raises:
        GrowthError: the inputs are not arrays, are empty or do not fit.
    """
    _check_not_empty(inputs)
    with full_precision(old, new):
        before, after = run(old, inputs), run(new, inputs)
        head = _head_difference(old, new, before, after)
    absolute, relative = difference(before, after, plan)
    allowed = _tolerance(new, plan.target)
    return Comparison(
        absolute,
        relative,
        allowed,
        head,
        [o.shape for o in before] != [o.shape for o in after],
        _notes(old, before, allowed, plan),
    )


def _check_not_empty(inputs):
    shapes = [np.shape(x) for x in keras.tree.flatten(inputs)]
    if not shapes or any(0 in shape for shape in shapes):
        raise GrowthError(
            "There is nothing to compare the outputs on: `probe`, or the "
            "inputs in `data`, must have at least one row. Received: inputs "
            f"of shape {shapes}"
        )


def _tolerance(network, spec):
    if not is_mixed(network.dtype_policy):
        return expected_rounding(network, spec)
    depth = 1 + sum(spec.depths.values())
    return tolerance("float32", longest_sum(spec), depth)


def _notes(old, before, allowed, plan):
    notes = {}
    if not any(_any(output) for output in before):
        notes["probe"] = "all outputs are zero on it, which shows nothing"
    if allowed > _WEAK:
        notes["precision"] = (
            f"the weights are {old.dtype_policy.variable_dtype}, and rounding "
            f"alone explains {allowed:.0%}: the comparison is weak"
        )
    if _spectral(old) and plan.source.sizes != plan.target.sizes:
        notes["training"] = (
            "spectral normalisation divides by the largest singular value, "
            "which changes with the width: what is said holds for inference"
        )
    return notes


def _any(output):
    return is_spread(output) or bool(np.any(output))


def _spectral(network):
    cls = keras.layers.SpectralNormalization
    return any(isinstance(x, cls) for x in network._flatten_layers())


def _head_difference(old, new, before, after):
    """How far logits are apart that a head outside of the networks makes of
    their outputs by their `token_embedding`, as a causal language model does.
    """
    heads = _reversible(old), _reversible(new)
    if any(h is None for h in heads) or len(before) != 1:
        return 0.0
    tokens = {_table(h).shape[0 if _is_tied(h) else 1] for h in heads}
    if len(tokens) > 1 or any(
        len(o.shape) != 3 or o.shape[-1] != h.output_dim
        for o, h in zip((before[0], after[0]), heads, strict=True)
    ):
        return 0.0
    one = _logits(before[0], heads[0])
    other = _logits(after[0], heads[1])
    return largest(other - one) / max(largest(one), 1e-30)


def _reversible(network):
    """The embedding of a network if it can be called in reverse, or `None`."""
    layer = getattr(network, "token_embedding", None)
    if not isinstance(layer, keras.layers.Embedding):
        return None
    can = "reverse" in inspect.signature(layer.call).parameters
    return layer if can else None


def _is_tied(head):
    return getattr(head, "tie_weights", True)


def _table(head):
    return head.embeddings if _is_tied(head) else head.reverse_embeddings


def _logits(output, head):
    """Logits of a head that is called in reverse: on the host in float64, or
    where the devices have the outputs or the table in pieces."""
    table = _table(head)
    if not is_spread(output) and not is_spread(table.value):
        table = keras.ops.convert_to_numpy(table).astype("float64")
        output = np.asarray(output, "float64")
        return output @ (table.T if _is_tied(head) else table)
    table, output = (keras.ops.cast(x, "float32") for x in (table, output))
    if _is_tied(head):
        table = keras.ops.transpose(table)
    return keras.ops.matmul(output, table)
