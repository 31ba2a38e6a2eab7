"""Growths in the places where Keras logs."""

import keras

from kgrow.architecture.architecture import count_parameters


class GrowthLog(keras.callbacks.Callback):
    """Writes growths into a running `fit`'s logs, and to TensorBoard.

    `GrowableModel.fit` adds it by itself. Each epoch's logs, and with them the
    `History`, get `growths` (so far) and `parameters`; a TensorBoard callback
    in the same `fit` gets each receipt as text and its numbers as scalars
    under `growth/`, at the optimizer's step.

    Args:
        callbacks: list of the other callbacks of the same `fit`.
    """

    def __init__(self, callbacks=()):
        super().__init__()
        self._boards = [
            c for c in callbacks if isinstance(c, keras.callbacks.TensorBoard)
        ]

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["growths"] = len(self.model.growth_history)
            logs["parameters"] = count_parameters(self.model.network)

    def on_growth(self, receipt):
        """Called by the model after each growth."""
        for board in self._boards:
            _write(board, receipt)


def _write(board, receipt):
    summary = board.summary
    step = receipt.step or 0
    with board._train_writer.as_default():
        summary.text("growth/receipt", f"```\n{receipt}\n```", step=step)
        for name in (
            "parameters_after",
            "seconds",
            "max_abs_diff",
            "relative_diff",
            "loss_before",
            "loss_after",
        ):
            value = getattr(receipt, name)
            if value is not None:
                summary.scalar(f"growth/{name}", value, step=step)
    board._train_writer.flush()
