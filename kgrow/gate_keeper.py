"""Taking gates away when they are open."""

import keras

from kgrow.gating import gates_of


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
