"""The gates of a network through a growth, and to their end."""

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.layers.masked.gates import Gates


def gates_of(network):
    """The `Gates` of a network, or `None` if it has none.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> gates_of(model.network).openings
    []
    """
    gates = getattr(network, "gates", None)
    return gates if isinstance(gates, Gates) else None


def copy_gates(network, old):
    """Gives a network, just built, the gates of the one it comes from, as far
    open as they are."""
    before = gates_of(old)
    if before is not None and before.openings:
        # Not adopted yet: torch takes no parameters without values.
        gates_of(network).set_openings(before.openings, before.steps())


def carry_gates(network, old, plan):
    """Gives a grown network the gates under way and that of its growth.

    Args:
        network: the grown network.
        old: the network before.
        plan: `Plan` from the one to the other.

    Raises:
        GrowthError: the network has no gates and the plan needs some, or the
            plan copies what stands behind a gate that is still opening.
    """
    gates, opening = gates_of(network), plan.opening
    if gates is None:
        if opening is not None:
            raise GrowthError(
                "'msg' needs a network with gates: a `kgrow.layers.Gates` in "
                "its attribute `gates`, whose masks its layers take, as those "
                "of `kgrow.models` have. Choose another strategy, or build "
                f"the network from `kgrow.layers`. Received: {network.name!r} "
                f"(of type {type(network).__name__})"
            )
        return
    before = gates_of(old)
    openings = [o.moved(plan, opening) for o in before.openings]
    steps = before.steps()
    if opening is not None:
        openings.append(opening)
        steps.append(0)
    if openings:
        _set(network, openings, steps)


def remember_gates(network):
    """Makes a function that puts a network's gates back as they are now."""
    gates = gates_of(network)
    if gates is None:
        return lambda: None
    rewind_gates = gates.remember()

    def rewind():
        rewind_gates()
        backend.adopt(network)

    return rewind


def settle(network):
    """Takes away the gates that are fully open.

    Returns:
        bool, whether there were any.
    """
    gates = gates_of(network)
    if gates is None or not gates.openings:
        return False
    steps = gates.steps()
    left = [
        (opening, step)
        for opening, step in zip(gates.openings, steps, strict=True)
        if step < opening.ramp.steps
    ]
    if len(left) == len(steps):
        return False
    _set(network, [o for o, _ in left], [s for _, s in left])
    return True


def open_all(network):
    """Takes away all gates, however far open.

    Returns:
        bool, whether there were any.
    """
    gates = gates_of(network)
    if gates is None or not gates.openings:
        return False
    _set(network, [], [])
    return True


def _set(network, openings, steps):
    gates_of(network).set_openings(openings, steps)
    backend.adopt(network)


class GateKeeper(keras.callbacks.Callback):
    """Ends the ramps of a running `fit`.

    `GrowableModel.fit` adds it by itself. It counts batches on the host, so
    that the device is asked once a ramp; when a gate is fully open it is taken
    away before the next batch, whose step is compiled for the plain network.
    """

    # What happens at the end of a batch is nothing.
    async_safe = True

    def __init__(self):
        super().__init__()
        self._known, self._left = None, []

    def on_train_batch_begin(self, batch, logs=None):
        self._look()
        if not self._left:
            return
        if min(self._left) <= 0:
            self.model.settle_gates()
            self._known = None
            self._look()
        # At most so many: what is counted too early is looked at again.
        taken = self.model.steps_per_execution
        self._left = [left - taken for left in self._left]

    def on_train_end(self, logs=None):
        gates = gates_of(self.model.network)
        if gates is not None and gates.openings:
            self.model.settle_gates()

    def _look(self):
        """Reads what is left of each ramp, where there are other gates than
        at the last look."""
        gates = gates_of(self.model.network)
        openings = None if gates is None else gates.openings
        if openings is self._known:
            return
        self._known = openings
        self._left = [
            opening.ramp.steps - steps for opening, steps in self.model.openings
        ]
