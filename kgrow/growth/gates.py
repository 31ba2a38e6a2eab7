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
    >>> gates_of(model.network).active_gates
    []
    """
    gates = getattr(network, "gates", None)
    return gates if isinstance(gates, Gates) else None


def copy_gates(network, old):
    """Gives a network, just built, the gates of the one it comes from, as far
    open as they are."""
    before = gates_of(old)
    if before is not None and before.active_gates:
        # Not adopted yet: torch takes no parameters without values.
        gates_of(network).set_active_gates(before.active_gates, before.steps())


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
    gates, gate = gates_of(network), plan.gate
    if gates is None:
        if gate is not None:
            raise GrowthError(
                "'msg' needs a network with gates: a `kgrow.layers.Gates` in "
                "its attribute `gates`, whose masks its layers take, as those "
                "of `kgrow.models` have. Choose another strategy, or build "
                f"the network from `kgrow.layers`. Received: {network.name!r} "
                f"(of type {type(network).__name__})"
            )
        return
    before = gates_of(old)
    active_gates = [o.moved(plan, gate) for o in before.active_gates]
    steps = before.steps()
    if gate is not None:
        active_gates.append(gate)
        steps.append(0)
    if active_gates:
        _set(network, active_gates, steps)


def remember_gates(network):
    """Makes a function that puts a network's gates back as they are now."""
    gates = gates_of(network)
    if gates is None:
        return lambda: None
    rewind_gates = gates.remember()

    def rewind():
        rewind_gates()
        backend.register_parameters(network)

    return rewind


def settle(network):
    """Takes away the gates that are fully open.

    Returns:
        bool, whether there were any.
    """
    gates = gates_of(network)
    if gates is None or not gates.active_gates:
        return False
    steps = gates.steps()
    left = [
        (gate, step)
        for gate, step in zip(gates.active_gates, steps, strict=True)
        if step < gate.ramp.steps
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
    if gates is None or not gates.active_gates:
        return False
    _set(network, [], [])
    return True


def _set(network, active_gates, steps):
    gates_of(network).set_active_gates(active_gates, steps)
    backend.register_parameters(network)


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
            self.model.remove_open_gates()
            self._known = None
            self._look()
        # At most so many: what is counted too early is looked at again.
        taken = self.model.steps_per_execution
        self._left = [left - taken for left in self._left]

    def on_train_end(self, logs=None):
        gates = gates_of(self.model.network)
        if gates is not None and gates.active_gates:
            self.model.remove_open_gates()

    def _look(self):
        """Reads what is left of each ramp, where there are other gates than
        at the last look."""
        gates = gates_of(self.model.network)
        active_gates = None if gates is None else gates.active_gates
        if active_gates is self._known:
            return
        self._known = active_gates
        self._left = [
            gate.ramp.steps - steps for gate, steps in self.model.active_gates
        ]
