"""Loading into a model: a failed load changes nothing."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kgrow import backend
from kgrow.backend.keras_internals import set_untracked
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.optimizer.rebuild import remember
from kgrow.growth.optimizer.slots import nested
from kgrow.growth.retired import retire

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

# Models whose values an enclosing context may still bring back.
_restorable = contextvars.ContextVar[tuple[int, ...]]("_restorable", default=())


@contextlib.contextmanager
def all_or_nothing(model: GrowableModel) -> Iterator[None]:
    """Context that restores a model if its body raises.

    Restored to the bit, and in the same variables, are weights, random states,
    gates, frozen entries and update scales, the teacher, the optimizer, the
    growth history, the state of callbacks and compiled functions. Inside the
    context, memory holds the old values and the new ones. It is for code that
    assigns values; growing, which frees the old ones, has its own undo steps.
    Contexts may be nested: a network that the body replaced is given up when
    the outermost ends without an error.

    Args:
        model: `GrowableModel`.

    Example:

    >>> import keras, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> bias = model.network.input_dense.bias
    >>> with contextlib.suppress(KeyError), all_or_nothing(model):
    ...     _ = bias.assign([1, 2, 3, 4])
    ...     raise KeyError
    >>> keras.ops.convert_to_numpy(bias).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    backend.sync(model)
    optimizer = getattr(model, "optimizer", None)
    optimizers = [] if optimizer is None else nested(optimizer)
    network, outer = model.network, _restorable.get()
    variables = [*model.variables, *model.metrics_variables]
    for each in optimizers:
        variables += each.variables
    with contextlib.ExitStack() as undo:
        undo.callback(guard, model)
        undo.callback(backend.snapshot(variables))
        undo.callback(_attributes(model))
        undo.callback(remember(optimizers))
        undo.callback(model._remember())
        token = _restorable.set((*outer, id(model)))
        try:
            yield
        finally:
            _restorable.reset(token)
        undo.pop_all()
    if id(model) not in outer and model.network is not network:
        retire(network, {id(v) for v in model.variables}, model.name)


def _attributes(model):
    """Returns a function that restores attributes that loading sets, other
    than the network."""
    architecture = model.architecture
    update_scales, frozen = architecture.update_scales, architecture.frozen
    factors = architecture.rate_factors
    state, history = model.callback_state, model._growth_history
    plans = model._growth_plans

    def rewind():
        architecture.update_scales, architecture.frozen = update_scales, frozen
        architecture.rate_factors = factors
        set_untracked(model, "callback_state", state)
        model._growth_history = history
        model._growth_plans = plans

    return rewind
