"""Which of Keras' loops is running when a growth is asked for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import keras

from kgrow.algebra.errors import GrowthError

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_TRAINING = ("fit", "train_on_batch")
_OTHERS = ("evaluate", "predict", "test_on_batch", "predict_on_batch")


def check_loops(model: GrowableModel) -> None:
    """Refuses a change inside a loop that would go on with the old network.

    Args:
        model: `GrowableModel` that is to change.

    Raises:
        GrowthError: `evaluate()` or `predict()` of the model is running, any
            loop of another model that it is a part of, or any loop of the
            model in another thread.
    """
    for owner, loop in _loops_of_other_threads():
        if owner is model:
            raise GrowthError(
                f"`{loop}()` of the model is running in another thread, in the "
                "middle of a step of the network that would be replaced. Grow "
                "in a callback of it, or wait until it has ended. Received: a "
                f"growth in thread {threading.current_thread().name!r}"
            )
    for owner, loop in _running_loops(sys._getframe()):
        if owner is model and loop in _OTHERS:
            raise GrowthError(
                f"`{loop}()` is running, and holds functions that were "
                "compiled for the network as it is. Grow where it has ended: "
                "in `on_epoch_end()`, `on_train_batch_end()`, or after the "
                f"call. Received: a growth inside `{loop}()`"
            )
        if owner is not model and _contains(owner, model):
            raise GrowthError(
                f"The model is a part of {owner.name!r}, whose `{loop}()` is "
                "running: its step and its optimizer would go on with the "
                "network that is replaced. Grow between two calls of it, and "
                "compile it again afterwards; or make the outer model the "
                f"growable one. Received: a growth inside `{loop}()` of "
                f"{type(owner).__name__}"
            )


def _loops_of_other_threads() -> Iterator[tuple[keras.Model, str]]:
    own = threading.get_ident()
    for thread, frame in sys._current_frames().items():
        if thread != own:
            yield from _running_loops(frame)


def _running_loops(
    frame: FrameType | None,
) -> Iterator[tuple[keras.Model, str]]:
    """`(model, name)` of the loops of Keras that a frame is in, the innermost
    first."""
    while frame is not None:
        name = frame.f_code.co_name
        if name in _TRAINING or name in _OTHERS:
            owner = frame.f_locals.get("self")
            if isinstance(owner, keras.Model):
                yield owner, name
        frame = frame.f_back


def _contains(owner, model):
    return any(
        layer is model for layer in owner._flatten_layers(include_self=False)
    )
