"""Losses, metrics and steps of a model, as the network it wraps defines them.

Keras calls the methods of the compiled model, which is the wrapper. A network
whose class has its own `compute_loss()`, `train_step()` or metrics expects the
compiled state (loss, optimizer, metrics) in its own attributes. So the wrapper
lends the network its compiled state for the duration of each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.types import Array
from kgrow.backend.keras_internals import set_untracked, with_attributes

# Set by `compile()`; `_losses_override` by a training step on JAX.
_COMPILED = (
    "compiled",
    "loss",
    "optimizer",
    "steps_per_execution",
    "_compile_loss",
    "_compile_metrics",
    "_jit_compile",
    "_loss_tracker",
    "_losses_override",
    "_run_eagerly",
)
_STEPS = ("train_step", "test_step", "predict_step")
# A network's own version of these would never run: Keras calls the wrapper's.
_OURS = (
    "compile",
    "fit",
    "evaluate",
    "predict",
    "train_on_batch",
    "test_on_batch",
    "predict_on_batch",
    "make_train_function",
    "make_test_function",
    "make_predict_function",
    "stateless_compute_loss",
    "compute_loss_and_updates",
    "_compute_loss",
)


def overrides(network: keras.Model, name: str) -> bool:
    """Whether a network's class has its own version of a method of Keras'."""
    definer = next(c for c in type(network).__mro__ if name in vars(c))
    return definer.__module__.partition(".")[0] != "keras"


def check_overrides(network: keras.Model, handled: Sequence[str] = ()) -> None:
    """Refuses a network whose own training would silently not be run.

    Args:
        network: a `keras.Model`.
        handled: names of methods that the wrapper's class replaces itself.

    Raises:
        GrowthError: its class overrides methods that a wrapper cannot
            delegate to.
    """
    known = [
        name
        for name in _OURS
        if name not in handled
        and hasattr(type(network), name)
        and overrides(network, name)
    ]
    on_instance = [n for n in ("compute_loss", *_STEPS) if n in vars(network)]
    if known or on_instance:
        raise GrowthError(
            f"The network {network.name!r} has its own version of "
            f"{', '.join(f'`{n}()`' for n in known + on_instance)}, which a "
            "growable model would not run: it compiles and trains the network "
            "itself. Override `compute_loss()`, `compute_metrics()`, "
            "`train_step()`, `test_step()`, `predict_step()` or `metrics` in "
            "its class instead, which are run. Received: "
            f"{type(network).__name__}"
        )


class NetworkTraining(keras.Model):
    """The part of `GrowableModel` that trains as its network's class says."""

    def _lent_to(
        self, network: keras.Model
    ) -> AbstractContextManager[keras.Model]:
        """Context in which a network has this model's compiled state."""
        own = vars(self)
        return with_attributes(
            network, {name: own[name] for name in _COMPILED if name in own}
        )

    def loss_with(
        self,
        network: keras.Model,
        x: Any,
        y: Any,
        y_pred: Any,
        sample_weight: Any = None,
        training: bool = True,
        penalties: Sequence[Array] = (),
    ) -> Array:
        """The loss of a network, by its class and this model's `compile()`.

        Args:
            network: the present network, or one of other sizes.
            x: inputs.
            y: targets.
            y_pred: outputs.
            sample_weight: optional weights of the samples.
            training: bool.
            penalties: list of scalars, `network.losses` as they were when it
                computed `y_pred`; by default what they are now.

        Returns:
            scalar tensor.
        """
        with self._lent_to(network):
            if penalties:
                # The same attribute as in Keras' step on JAX.
                set_untracked(network, "_losses_override", list(penalties))
            return network._compute_loss(
                x, y, y_pred, sample_weight, training=training
            )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Array:
        loss = self.loss_with(
            self.network, x, y, y_pred, sample_weight, training
        )
        if self._inheritance is None or not training:
            return loss
        return self._inheritance.blend(loss, x, y_pred, sample_weight)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        with self._lent_to(self.network) as network:
            return network.compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self) -> list[keras.Metric]:
        with self._lent_to(self.network) as network:
            return network.metrics

    def get_metrics_result(self) -> dict[str, Any]:
        with self._lent_to(self.network) as network:
            return network.get_metrics_result()

    def reset_metrics(self) -> None:
        with self._lent_to(self.network) as network:
            network.reset_metrics()

    # Keras' own steps run on the wrapper, which knows the teacher. On JAX the
    # arguments are the state and the data.

    def train_step(self, *args: Any) -> Any:
        return self._step("train_step", super().train_step, args)

    def test_step(self, *args: Any) -> Any:
        return self._step("test_step", super().test_step, args)

    def predict_step(self, *args: Any) -> Any:
        return self._step("predict_step", super().predict_step, args)

    def _step(self, name, step, args):
        if not overrides(self.network, name):
            return step(*args)
        with self._lent_to(self.network) as network:
            return getattr(network, name)(*args)

    def check_teachable(self) -> None:
        """Raises if the network would train without a teacher's loss."""
        if overrides(self.network, "train_step"):
            raise GrowthError(
                "A teacher's loss is added in the step that Keras defines, "
                "and the network has its own `train_step()`. Choose another "
                f"strategy. Received: {type(self.network).__name__}"
            )
