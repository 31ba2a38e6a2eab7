"""Record a learned operator before and after its training."""

import weakref

import keras


class OperatorRecord(keras.callbacks.Callback):
    """Keeps the parameters of an operator from before and after its fit.

    A callback for strategies that learn, `LiGO(callbacks=[record])`, and for
    the pictures `kgrow.analysis.plots.width_maps` and
    `kgrow.analysis.plots.depth_maps`. Of several growths it keeps the last.

    Attributes:
        before: dict from names to arrays, as the operator started.
        after: the same, as it was learned.

    Example:

    >>> import kgrow, numpy as np
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("sgd", "mse")
    >>> record = OperatorRecord()
    >>> ligo = kgrow.strategies.LiGO(steps=1, verbose=0, callbacks=[record])
    >>> receipt = model.grow({"num_layers": 2}, ligo,
    ...     data=(np.ones((4, 2)), np.ones((4, 1))))
    >>> sorted(record.after)[0].rpartition("/")[2]
    'depth'
    """

    def __init__(self):
        super().__init__()
        self.before, self.after = {}, {}
        self._operator = None

    def on_train_begin(self, logs=None):
        # A fit in two parts begins twice, with one operator.
        if self._operator is None or self._operator() is not self.model:
            self._operator = weakref.ref(self.model)
            self.before, self.after = self.model.operator_values(), {}

    def on_train_end(self, logs=None):
        self.after = self.model.operator_values()
