"""Replacing a model's network by another one, and undoing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import keras

from kgrow import backend
from kgrow.architecture.architecture import Architecture
from kgrow.backend.keras_internals import DotNotTrackScope, sublayers_allowed
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.teacher import Inheritance

if TYPE_CHECKING:
    from kgrow.growth.prepared.program_store import ProgramStore

_FUNCTIONS = ("train_function", "test_function", "predict_function")


class NetworkSwap(keras.Model):
    """The part of `GrowableModel` that replaces its network."""

    network: keras.Model
    _architecture: Architecture
    _inheritance: Inheritance | None
    _programs: ProgramStore

    def set_teacher(self, inheritance: Inheritance | None) -> None:
        """Sets the `Inheritance` that adds to the loss, or `None` for none."""
        with sublayers_allowed(self):
            if self._inheritance is not None:
                self._tracker.untrack(self._inheritance)
            self._inheritance = inheritance

    def _install(self, architecture: Architecture) -> None:
        """Replaces the network; the optimizer and compiled functions stay."""
        with sublayers_allowed(self):
            places = [id(layer) for layer in self._layers]
            here = id(self.network)
            place = places.index(here) if here in places else 0
            self._tracker.untrack(self.network)
            self._architecture = architecture
            self.network = architecture.network
            # Tracking appends; move the network to its old place. Keras' files
            # and JAX' state go by the order of the variables.
            self._layers.insert(place, self._layers.pop())
        if self.compiled:
            # Untracked, as in `compile()`: TensorFlow would keep the tracked
            # dict alive, and with it the old network.
            with DotNotTrackScope():
                self._compiled_trainable_state = {
                    layer: layer.trainable for layer in self._flatten_layers()
                }

    def _remember(self) -> Callable[[], None]:
        """Returns a function that restores the present network and the
        functions compiled for it."""
        architecture, inheritance = self._architecture, self._inheritance
        functions = {name: getattr(self, name) for name in _FUNCTIONS}

        def rewind():
            taught = self._inheritance
            if taught is not None and taught is not inheritance:
                taught.release()
            self._install(architecture)
            # Also untracks one that was set meanwhile.
            self.set_teacher(inheritance)
            backend.reload_state(self)
            for name, function in functions.items():
                setattr(self, name, function)

        return rewind

    def _refresh_functions(self) -> None:
        """Makes the running `fit` go on with the present variables."""
        backend.reload_state(self)
        self.test_function = None
        self.predict_function = None
        if self.train_function is not None:
            self.make_train_function(force=True)

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is not None and not force:
            return
        # `compile()` may have set another optimizer.
        guard(self)
        backend.retrace(self)
        super().make_train_function(force)
        self.train_function = self._programs.attach(
            self, "train", self.train_function
        )

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is not None and not force:
            return
        super().make_test_function(force)
        self.test_function = self._programs.attach(
            self, "test", self.test_function
        )
