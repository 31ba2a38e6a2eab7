"""Putting a network in the place of another, and back."""

from kgrow import backend
from kgrow.backend.keras_internals import DotNotTrackScope, sublayers_allowed
from kgrow.growth.optimizer.entry_masks import guard

_FUNCTIONS = ("train_function", "test_function", "predict_function")


class NetworkSwap:
    """The part of a growable model that changes its network."""

    def set_teacher(self, inheritance):
        """Takes an `Inheritance` whose part of the loss is added from now on,
        or `None` for none."""
        with sublayers_allowed(self):
            if self._inheritance is not None:
                self._tracker.untrack(self._inheritance)
            self._inheritance = inheritance

    def _install(self, architecture):
        """Puts a network in the place of the present one, nothing else."""
        with sublayers_allowed(self):
            places = [id(layer) for layer in self._layers]
            here = id(self.network)
            place = places.index(here) if here in places else 0
            self._tracker.untrack(self.network)
            self._architecture = architecture
            self.network = architecture.network
            # Tracked as the last one, behind a teacher: variables keep their
            # order, by which Keras' files and JAX' state find them.
            self._layers.insert(place, self._layers.pop())
        if self.compiled:
            # Untracked, as `compile()` does: TensorFlow would go on holding
            # the dict it tracks, and with it the old network.
            with DotNotTrackScope():
                self._compiled_trainable_state = {
                    layer: layer.trainable for layer in self._flatten_layers()
                }

    def _remember(self):
        """Makes a function that puts the present network back, and the
        functions compiled for it."""
        architecture, inheritance = self._architecture, self._inheritance
        functions = {name: getattr(self, name) for name in _FUNCTIONS}

        def rewind():
            taught = self._inheritance
            if taught is not None and taught is not inheritance:
                taught.release()
            self._install(architecture)
            # Whether or not it is tracked by now.
            self.set_teacher(inheritance)
            backend.reload_state(self)
            for name, function in functions.items():
                setattr(self, name, function)

        return rewind

    def _refresh_functions(self):
        """Lets the running `fit` go on with the present variables."""
        backend.reload_state(self)
        self.test_function = None
        self.predict_function = None
        if self.train_function is not None:
            self.make_train_function(force=True)

    def make_train_function(self, force=False):
        if self.train_function is not None and not force:
            return
        # The optimizer may be another one since.
        guard(self)
        backend.retrace(self)
        super().make_train_function(force)
        self.train_function = self._programs.attach(
            self, "train", self.train_function
        )

    def make_test_function(self, force=False):
        if self.test_function is not None and not force:
            return
        super().make_test_function(force)
        self.test_function = self._programs.attach(
            self, "test", self.test_function
        )
