"""Loading into a model: all of it or nothing."""

import contextlib

from kgrow import backend
from kgrow.backend.keras_internals import set_untracked
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.optimizer.rebuild import remember
from kgrow.growth.optimizer.slots import nested
from kgrow.growth.retired import retire


@contextlib.contextmanager
def all_or_nothing(model):
    """Context that puts a model back as it was if what is in it fails.

    Weights, random states, gates, what rests and at which pace, the teacher,
    the optimizer, the history, the state of callbacks, and the functions that
    are compiled: to the bit, and in the same variables. Inside the context the
    values of before are held beside the new ones. It is for what assigns
    values; growing frees the old ones.

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
    network = model.network
    variables = [*model.variables, *model.metrics_variables]
    for each in optimizers:
        variables += each.variables
    with contextlib.ExitStack() as undo:
        undo.callback(guard, model)
        undo.callback(backend.snapshot(variables))
        undo.callback(_attributes(model))
        undo.callback(remember(optimizers))
        undo.callback(model._remember())
        yield
        undo.pop_all()
    if model.network is not network:
        retire(network, {id(v) for v in model.variables}, model.name)


def _attributes(model):
    """Makes a function that puts back what is changed in place, or replaced,
    beside the network."""
    architecture = model.architecture
    update_scales, frozen = architecture.update_scales, architecture.frozen
    factors = architecture.rate_factors
    state, history = model.callback_state, model._growth_history

    def rewind():
        architecture.update_scales, architecture.frozen = update_scales, frozen
        architecture.rate_factors = factors
        set_untracked(model, "callback_state", state)
        model._growth_history = history

    return rewind
