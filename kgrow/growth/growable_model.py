"""A Keras model that can be made larger while it trains."""

import contextlib

import keras

from kgrow import backend
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.deserialization import check_names, object_of
from kgrow.algebra.errors import FileError, GrowthError
from kgrow.architecture.architecture import Architecture
from kgrow.architecture.inference.derive_axes import derive
from kgrow.architecture.network_changes import check_unchanged
from kgrow.architecture.recipes import ModelBuilder, recipe_of
from kgrow.backend.keras_internals import set_untracked, stop_reading
from kgrow.growth.freezing import unfreeze
from kgrow.growth.gates import (
    GateKeeper,
    gates_of,
    open_all,
    remember_gates,
    settle,
)
from kgrow.growth.log_callback import GrowthLog
from kgrow.growth.network_facade import NetworkFacade
from kgrow.growth.network_swap import NetworkSwap
from kgrow.growth.network_training import NetworkTraining, check_overrides
from kgrow.growth.prepared.prepared_growth import PreparedGrowth
from kgrow.growth.prepared.program_store import ProgramStore
from kgrow.growth.saving import growth_state, orbax
from kgrow.growth.saving.rollback import all_or_nothing
from kgrow.growth.saving.safe_write import whole_file
from kgrow.growth.saving.size_limits import (
    check_arrays,
    check_stored,
    extent_of_store,
)
from kgrow.growth.saving.state_schema import pack, unpack
from kgrow.growth.saving.state_tree import load_tree, tree_of
from kgrow.growth.transaction import GrowthTransaction
from kgrow.growth.weights_list import SizedWeights

_STORE_KEY = "growth"

# `[(test of a network, subclass that wraps those that pass)]`.
_KINDS = []


def register_kind(fits, cls):
    """Lets `GrowableModel(network)` make a subclass of some networks.

    Args:
        fits: function of a network, whether it is of the kind.
        cls: subclass of `GrowableModel`, with the same arguments.
    """
    _KINDS.append((fits, cls))


@keras.saving.register_keras_serializable("kgrow")
class GrowableModel(
    NetworkFacade,
    NetworkTraining,
    NetworkSwap,
    PreparedGrowth,
    SizedWeights,
    keras.Model,
):
    """Wraps a network, and swaps it for a larger one on `grow()`.

    It is an ordinary Keras model: `compile()`, `fit()`, `evaluate()`,
    `save()`. The network may be any built Keras model whose `get_config()` has
    its sizes as fields (a KerasHub backbone, a subclass of one's own), or a
    Functional or Sequential model, whose widths grow.

    Args:
        network: a built `keras.Model`, or a `ModelBuilder`.
        axes: `AxisMap`, or the dict of rules for one. By default they are
            read off the network's own computation, see `derive()`.
        name: optional string.

    Attributes:
        callback_state: dict from a callback's name to what it wants to find
            again, as data that JSON can hold. It is saved with the weights.

    Raises:
        GrowthError: a variable of the network has no axes, or others than its
            shape admits.

    Example:

    >>> import keras, kgrow, numpy as np
    >>> network = keras.Sequential([keras.Input((4,)),
    ...     keras.layers.Dense(8, activation="relu", name="inner"),
    ...     keras.layers.Dense(2, name="outer")])
    >>> model = kgrow.GrowableModel(network, axes={
    ...     "inner/kernel": "_ -> units", "inner/bias": "-> units",
    ...     "outer/kernel": "units -> _", "outer/bias": "-> _"})
    >>> receipt = model.grow({"units": 12}, seed=0)
    >>> model.growth_config, receipt.exact
    ({'units': 12}, True)
    """

    # Methods of training of a network's class that this class replaces.
    _own_training = ()

    def __new__(cls, *args, **kwargs):
        if cls is GrowableModel:
            network = args[0] if args else kwargs.get("network")
            fitting = (kind for fits, kind in _KINDS if fits(network))
            return super().__new__(next(fitting, cls), *args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, network, axes=None, name=None, **kwargs):
        if isinstance(network, ModelBuilder):
            network = network.make()
        if not isinstance(network, keras.Model):
            raise GrowthError(
                "`network` must be a built `keras.Model`. Received: "
                f"{network!r} (of type {type(network).__name__})"
            )
        check_overrides(network, self._own_training)
        kwargs.setdefault("dtype", network.dtype_policy)
        super().__init__(name=name, **kwargs)
        # Families pass the axes that their authors wrote.
        kind = type(self) is GrowableModel or bool(self._own_training)
        self.axes_given = axes is not None and kind
        if axes is None:
            axes = derive(network)
        axes = axes if isinstance(axes, AxisMap) else AxisMap(axes)
        self._architecture = Architecture(axes, network)
        self.network = network
        self._growth_history = []
        self._growth_log = None
        self._inheritance = None
        # Past `__setattr__`: dicts that Keras or TensorFlow track are no plain
        # data.
        set_untracked(self, "callback_state", {})
        set_untracked(self, "_programs", ProgramStore())
        # Keras' iterator over the data of the running `fit`, or `None`.
        self._epoch_iterator = None
        self.built = True

    def grow(
        self,
        target_config,
        strategy="net2net",
        *,
        data=None,
        probe=None,
        optimizer_state="carry",
        seed=None,
        trainable=None,
        learning_rate=None,
    ):
        """Makes the model larger, in place.

        May be called at any time: before and after `compile()`, between two
        calls of `fit()`, or in a callback at the end of a batch or an epoch.
        Weights, the optimizer's state, step counters, metrics and random
        states go on. On any error nothing has changed.

        Args:
            target_config: dict of the fields that change, see
                `growth_config`. The others stay.
            strategy: a name from `kgrow.strategies.names()`, or a strategy.
            data: optional batch `(x, y)` or dataset, for the loss before and
                after.
            probe: optional inputs to compare the outputs on; by default those
                of `data`, or drawn ones.
            optimizer_state: `"carry"` maps the state of all entries through
                the plan's dual; `"reset_new"` keeps it for the entries that
                were there and starts the others anew; `"reset"` starts all
                anew. In every case new second moments start from the mean of
                the old ones, as the step count goes on.
            seed: optional int. The same seed gives the same grown weights, on
                every backend.
            trainable: which entries train from now on. `"new"`: only those
                that this growth adds, down to parts of a variable; every old
                entry is frozen. `"all"`: the new entries, and the old ones
                that trained before; those that an earlier growth froze stay
                frozen until `unfreeze()`. A list of regular expressions, or a
                function from a variable's path to a bool: the new entries,
                and all of the variables that it chooses, by their paths in
                the grown network. `None` leaves it to the strategy. What was
                frozen by hand stays so, except that new entries train unless
                it is `"all"`.
            learning_rate: `"transfer"` gives every variable a factor of the
                learning rate with which the grown network trains on as the
                small one would, see the page on learning rates;
                `None` leaves the rates as they are.

        Returns:
            `Receipt`, also kept in `growth_history`.

        Raises:
            GrowthError: the target, the strategy, the data or the optimizer
                does not admit it, or a strategy that claims to keep the
                function does not.

        Example:

        >>> import kgrow
        >>> model = kgrow.models.GPT2(vocabulary_size=32, num_layers=1,
        ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
        ...     max_sequence_length=8)
        >>> receipt = model.grow({"hidden_dim": 16, "num_layers": 2})
        >>> receipt.exact, model.growth_config["head_dim"]
        (True, 4)
        """
        receipt = GrowthTransaction(
            self,
            target_config,
            strategy,
            data,
            probe,
            optimizer_state,
            seed,
            trainable,
            learning_rate=learning_rate,
        ).run()
        if self._growth_log is not None:
            self._growth_log.on_growth(receipt)
        return receipt

    def _like(self, network):
        """A model of the same class around another network."""
        made = GrowableModel.__new__(type(self), network)
        axes = self._architecture.axes
        GrowableModel.__init__(made, network, axes, name=self.name)
        return made

    @property
    def training_options(self):
        """dict of the options that change how the network trains, and not
        what its weights are: `set_training_options()` changes them."""
        return self._architecture.training_options

    def set_training_options(self, **training_options):
        """Changes how the network trains: dropout, what it leaves out.

        May be called wherever `grow()` may, inside a running `fit` too.
        Weights and the optimizer's state stay to the bit. On any error
        nothing has changed.

        Args:
            **training_options: those of `training_options` that change, such as
                `dropout=0.0`, `layer_drop=0.2`, `token_drop=0.5`, or for BERT
                `pooling=2`.

        Raises:
            GrowthError: the network has no such option.

        Example:

        >>> import kgrow
        >>> model = kgrow.models.GPT2(vocabulary_size=32, num_layers=1,
        ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
        ...     max_sequence_length=8)
        >>> model.set_training_options(dropout=0.0, layer_drop=0.5)
        >>> model.training_options
        {'dropout': 0.0, 'layer_drop': 0.5, 'token_drop': 0.0}
        """
        if training_options:
            # A pooled network takes other inputs than the next one, so that
            # there is nothing to compare.
            GrowthTransaction(
                self, {}, "direct", training_options=training_options
            ).run()

    def unfreeze(self, patterns=None):
        """Unfreezes entries that growths with `trainable="new"` froze.

        May be called wherever `grow()` may, inside a running `fit` too. The
        entries come back to the optimizer as new entries do: momentum starts
        from zero, second moments from the mean of those that there are.
        Layers and variables that were frozen by hand stay so. On any error
        nothing has changed.

        Args:
            patterns: optional list of regular expressions that are searched
                for in the variables' paths, or function from a path to a
                bool; by default everything is unfrozen.

        Raises:
            GrowthError: a pattern chooses no variable.

        Example:

        >>> import kgrow
        >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
        ...     intermediate_dim=8, num_layers=1)
        >>> receipt = model.grow({"num_layers": 2}, "llama_pro")
        >>> len(model.trainable_variables), len(model.variables)
        (4, 12)
        >>> model.unfreeze(["^output_dense"])
        >>> len(model.trainable_variables)
        6
        >>> model.unfreeze()
        >>> len(model.trainable_variables)
        12
        """
        unfreeze(self, patterns)

    @property
    def active_gates(self):
        """`[(Gate, steps), ...]`: the gates that are still opening, and
        how many batches each has been trained for."""
        backend.sync(self)
        gates = gates_of(self.network)
        if gates is None:
            return []
        return list(zip(gates.active_gates, gates.steps(), strict=True))

    def remove_open_gates(self):
        """Takes away the gates that are fully open; `fit` does it by itself.

        The function stays, but for rounding, and the next step is compiled
        for a network without them.
        """
        self._change_gates(settle)

    def force_open_gates(self):
        """Takes away all gates at once, however far open.

        What stands behind one that is not fully open takes part from now on
        as if it were: the function changes.
        """
        self._change_gates(open_all)

    def _change_gates(self, change):
        backend.sync(self)
        with contextlib.ExitStack() as undo, backend.scope(self):
            undo.callback(self._remember())
            undo.callback(remember_gates(self.network))
            if change(self.network):
                self._refresh_functions()
            undo.pop_all()

    def strip(self):
        """The plain network: no gates, stock layers, stock names of weights.

        Gates that are fully open are taken away, from this model too, whose
        network it is.

        Returns:
            `keras.Model`.

        Raises:
            GrowthError: a gate is not fully open yet.

        Example:

        >>> import kgrow
        >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
        ...     intermediate_dim=8, num_layers=1)
        >>> len(model.strip().weights)
        8
        """
        for gate, steps in self.active_gates:
            if steps < gate.ramp.steps:
                raise GrowthError(
                    "A gate is still opening, and a network without it would "
                    "compute something else. Train on for "
                    f"{gate.ramp.steps - steps} batches, or accept the "
                    "change with `force_open_gates()`. Received: "
                    f"{gate.ramp!r} after {steps} batches"
                )
        self.remove_open_gates()
        return self.network

    @property
    def teacher(self):
        """The network that teaches this one, or `None`."""
        return self._inheritance and self._inheritance.teacher

    @property
    def inheritance(self):
        """`Inheritance`, what the teacher adds to the loss, or `None`."""
        return self._inheritance

    def remove_teacher(self):
        """Ends what the strategy `ki` began: the small network no longer
        teaches this one, and is let go."""
        backend.sync(self)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remember())
            self.set_teacher(None)
            self._refresh_functions()
            undo.pop_all()

    @property
    def growth_config(self):
        """dict of the fields that can grow, and their sizes now."""
        return self._architecture.config

    @property
    def growth_history(self):
        """The `Receipt`s of all growths, oldest first."""
        return list(self._growth_history)

    @property
    def architecture(self):
        """`Architecture` of the network."""
        return self._architecture

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *args,
        **kwargs,
    ):
        log, own, callbacks = _with_own_callbacks(self, callbacks)
        self._growth_log = log
        # Of data that are no longer those of this run.
        self._programs.seen.clear()
        try:
            return super().fit(
                x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs
            )
        except KeyboardInterrupt:
            # The process is likely to end, and would wait for the thread.
            self._programs.cancel()
            raise
        finally:
            self._growth_log = self._epoch_iterator = None
            if isinstance(callbacks, keras.callbacks.CallbackList):
                for callback in own:
                    callbacks.callbacks.remove(callback)

    # `fit` shows its iterator to nothing else than these two, of which
    # TensorFlow calls the second.

    def _symbolic_build(self, iterator=None, data_batch=None):
        self._see_iterator(iterator)
        super()._symbolic_build(iterator, data_batch)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        self._see_iterator(iterator)
        super()._maybe_symbolic_build(iterator, data_batch)

    def _see_iterator(self, iterator):
        # The first one; validation in `fit` has its own.
        fits = self._growth_log is not None
        if fits and self._epoch_iterator is None:
            self._epoch_iterator = iterator

    def get_config(self):
        check_unchanged(self._architecture, "Saving")
        # What builds a network comes back with it, to build a larger one.
        recipe = recipe_of(self.network)
        made_by = recipe if isinstance(recipe, ModelBuilder) else self.network
        return {
            "network": keras.saving.serialize_keras_object(made_by),
            "axes": self._architecture.axes.get_config(),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("network"), dict):
            config["network"] = object_of(
                config["network"],
                (keras.Model, ModelBuilder),
                "a network, or a `ModelBuilder`",
            )
            config["axes"] = AxisMap.from_config(config["axes"])
        model = cls(**config)
        # Not known of a file.
        model.axes_given = False
        return model

    def compile_from_config(self, config):
        check_names(config)
        super().compile_from_config(config)

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Saves the model, see `keras.Model.save()`.

        If anything fails, the file that was there stays as it was.

        Raises:
            GrowthError: what the model says of itself cannot be saved.
            FileError: the disk has no room for the file.
        """
        check_unchanged(self._architecture, "Saving")
        with whole_file(self, filepath, overwrite) as path:
            if path is not None:
                super().save(path, zipped=zipped, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Saves the weights and all of growth, see
        `keras.Model.save_weights()`; fails as `save()` does."""
        check_unchanged(self._architecture, "Saving")
        if max_shard_size is not None:
            # Several files, which cannot be put in their place at once.
            pack(growth_state.state_of(self))
            return super().save_weights(filepath, overwrite, max_shard_size)
        with whole_file(self, filepath, overwrite) as path:
            if path is not None:
                super().save_weights(path)

    def save_own_variables(self, store):
        backend.sync(self)
        state = pack(growth_state.state_of(self))
        super().save_own_variables(store)
        store[_STORE_KEY] = state

    def load_own_variables(self, store):
        try:
            if _STORE_KEY not in store.keys():
                raise FileError(
                    "The file has no growth state: it is not whole, or was "
                    "saved from another kind of model. Received: a store "
                    f"with the entries {sorted(store.keys())}"
                )
            check_stored(store)
            saved = unpack(store[_STORE_KEY])
            check_arrays(store, saved["variables"].values())
            own = {key: store[key] for key in store.keys()}
            del own[_STORE_KEY]
            growth_state.become(self, saved, lambda: extent_of_store(store))
            growth_state.insist_on_slots(self, saved)
            super().load_own_variables(own)
        except Exception as error:
            # The layers would read arrays that were not checked.
            stop_reading(store, error)
            raise

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        """Becomes what was saved, and takes its weights.

        Args:
            filepath: a file of weights, or of a model, or the directory of a
                `keras.callbacks.OrbaxCheckpoint`.
            skip_mismatch: see `keras.Model.load_weights()`. What the file
                says of growth must fit all the same.
            **kwargs: the same.

        Raises:
            FileError: what the file says of growth makes no sense, or is of
                another kind of model. On this and any other error nothing
                has changed.
        """
        with all_or_nothing(self):
            if orbax.is_for(filepath):
                return orbax.load(self, filepath)
            super().load_weights(filepath, skip_mismatch, **kwargs)

    def get_state_tree(self, value_format="backend_tensor"):
        """The state as nested dicts of arrays, as Orbax stores it."""
        backend.sync(self)
        return tree_of(self, value_format)

    def set_state_tree(self, state_tree):
        """Becomes what `get_state_tree()` gave of another model.

        Args:
            state_tree: dict.

        Raises:
            FileError: it is of another kind of model, or not whole. On any
                error nothing has changed.
        """
        with all_or_nothing(self):
            load_tree(self, state_tree)


def _with_own_callbacks(model, callbacks):
    """Two callbacks more: one writes growths where Keras logs, one takes
    gates away that are open."""
    keeper = GateKeeper()
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        others = [c for c in keras.tree.flatten(callbacks) if c is not None]
        log = GrowthLog(others)
        others.insert(_place_of_history(others), log)
        return log, [log, keeper], [*others, keeper]
    # Such a list is ready.
    log = GrowthLog(callbacks.callbacks)
    for callback in (log, keeper):
        callback.set_model(model)
    callbacks.callbacks.insert(_place_of_history(callbacks.callbacks), log)
    callbacks.callbacks.append(keeper)
    return log, [log, keeper], callbacks


def _place_of_history(callbacks):
    """Where the callback is that is to see what is written into the logs."""
    kinds = [isinstance(c, keras.callbacks.History) for c in callbacks]
    return (kinds + [True]).index(True)
