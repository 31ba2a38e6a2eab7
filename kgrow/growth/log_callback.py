"""Growths in Keras' logs: `History`, progress bar, TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import keras

from kgrow.architecture.architecture import count_parameters
from kgrow.growth.receipt import Receipt

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


class GrowthLog(keras.callbacks.Callback):
    """Adds growths to the `History` of `fit`, its logs and TensorBoard.

    `GrowableModel.fit` adds it by itself, behind the `History`. Each epoch of
    the `History` gets `growths` (so far) and `parameters`. The logs, and with
    them the progress bar, get both once the model has grown: before that they
    say nothing, and a `History` needs a value in every epoch. A TensorBoard
    callback in the same `fit` gets each receipt as text and its numbers as
    scalars under `growth/`, at the optimizer's step.

    Args:
        callbacks: list of the other callbacks of the same `fit`.
    """

    def __init__(
        self, callbacks: Iterable[keras.callbacks.Callback] = ()
    ) -> None:
        super().__init__()
        callbacks = list(callbacks)
        self._boards = [
            c for c in callbacks if isinstance(c, keras.callbacks.TensorBoard)
        ]
        self._histories = [
            c for c in callbacks if isinstance(c, keras.callbacks.History)
        ]

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        model = cast("GrowableModel", self.model)
        facts = {
            "growths": len(model.growth_history),
            "parameters": count_parameters(model.network),
        }
        for history in self._histories:
            for name, value in facts.items():
                history.history.setdefault(name, []).append(value)
        if logs is not None and facts["growths"]:
            logs.update(facts)

    def on_growth(self, receipt: Receipt) -> None:
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
