"""Gates of a network: carried through a growth, removed when fully open."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.layers.masked.gates import Gates

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


def gates_of(network: keras.Model) -> Gates | None:
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


def copy_gates(network: keras.Model, old: keras.Model) -> None:
    """Gives a new network the gates of the old one, as far open as they are."""
    before, gates = gates_of(old), gates_of(network)
    if before is not None and gates is not None and before.active_gates:
        # Registered with torch later, once the variables have values.
        gates.set_active_gates(before.active_gates, before.steps())


def carry_gates(network: keras.Model, old: keras.Model, plan: Plan) -> None:
    """Gives a grown network the old one's gates, and the gate of its growth.

    Args:
        network: the grown network.
        old: the network before.
        plan: `Plan` from the one to the other.

    Raises:
        GrowthError: the network has no gates and the plan needs some, or the
            plan copies units or blocks whose gate is still opening.
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
    before, active_gates, steps = gates_of(old), [], []
    if before is not None:
        moved = [o.moved(plan, gate) for o in before.active_gates]
        steps = [
            step
            for one, step in zip(moved, before.steps(), strict=True)
            if not one.is_empty
        ]
        active_gates = [one for one in moved if not one.is_empty]
    if gate is not None:
        active_gates.append(gate)
        steps.append(0)
    if active_gates:
        _set(network, gates, active_gates, steps)


def remember_gates(network: keras.Model) -> Callable[[], None]:
    """Returns a function that restores a network's present gates."""
    gates = gates_of(network)
    if gates is None:
        return lambda: None
    rewind_gates = gates.remember()

    def rewind():
        rewind_gates()
        backend.register_parameters(network)

    return rewind


def settle(network: keras.Model) -> bool:
    """Removes the gates that are fully open.

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
    _set(network, gates, [o for o, _ in left], [s for _, s in left])
    return True


def open_all(network: keras.Model) -> bool:
    """Removes all gates, however far open.

    Returns:
        bool, whether there were any.
    """
    gates = gates_of(network)
    if gates is None or not gates.active_gates:
        return False
    _set(network, gates, [], [])
    return True


def _set(network, gates, active_gates, steps):
    gates.set_active_gates(active_gates, steps)
    backend.register_parameters(network)


class GateKeeper(keras.callbacks.Callback):
    """Removes gates that have fully opened, during `fit`.

    `GrowableModel.fit` adds it by itself. It counts batches on the host, so
    that a gate's counter is read from the device once per ramp, not once per
    batch. A gate that is fully open is removed before the next batch, whose
    step is compiled for the plain network.
    """

    # Does nothing at the end of a batch, so Keras need not wait for logs.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self._known, self._left = None, []

    @property
    def _growable(self) -> GrowableModel:
        return cast("GrowableModel", self.model)

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._look()
        if not self._left:
            return
        if min(self._left) <= 0:
            self._growable.remove_open_gates()
            self._known = None
            self._look()
        # At most so many; a ramp that seems over too early is read again.
        taken = self._growable.steps_per_execution
        self._left = [left - taken for left in self._left]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        gates = gates_of(self._growable.network)
        if gates is not None and gates.active_gates:
            self._growable.remove_open_gates()

    def _look(self):
        """Reads the steps left of each ramp, if the gates have changed."""
        gates = gates_of(self._growable.network)
        active_gates = None if gates is None else gates.active_gates
        if active_gates is self._known:
            return
        self._known = active_gates
        self._left = [
            gate.ramp.steps - steps
            for gate, steps in self._growable.active_gates
        ]
