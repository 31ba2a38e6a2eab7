"""`GrowableModel`: a Keras model that can be made larger while it trains."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import keras

from kgrow import backend
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.deserialization import check_names, object_of
from kgrow.algebra.errors import FileError, GrowthError
from kgrow.algebra.gate import Gate
from kgrow.algebra.types import Config
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
from kgrow.growth.projection import ProjectionTransaction
from kgrow.growth.receipt import Receipt
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
from kgrow.growth.teacher import Inheritance
from kgrow.growth.trainable_choice import Choice
from kgrow.growth.transaction import GrowthTransaction
from kgrow.growth.weights_list import SizedWeights
from kgrow.strategies.base import Strategy

_STORE_KEY = "growth"

# `[(test of a network, subclass that wraps those that pass)]`.
_KINDS: list[tuple[Callable[[Any], bool], type]] = []


def register_kind(
    fits: Callable[[Any], bool], cls: type[GrowableModel]
) -> None:
    """Makes `GrowableModel(network)` return a subclass for some networks.

    Args:
        fits: function of a network, whether it is of the kind.
        cls: subclass of `GrowableModel`, with the same arguments.
    """
    _KINDS.append((fits, cls))


@keras.saving.register_keras_serializable("kgrow")
# `NetworkFacade` says why `layers` differs.
class GrowableModel(  # pyright: ignore[reportIncompatibleMethodOverride]
    NetworkFacade,
    NetworkTraining,
    NetworkSwap,
    PreparedGrowth,
    SizedWeights,
):
    """A model that wraps a network and makes it larger in place.

    It is an ordinary Keras model, with `compile()`, `fit()`, `evaluate()` and
    `save()`; `grow()` replaces its network by a larger one that continues the
    training. The network may be any built Keras model whose `get_config()`
    has its sizes as fields (a KerasHub backbone, a subclass of your own), or a
    Functional or Sequential model, which can grow in width.

    Args:
        network: a built `keras.Model`, or a `ModelBuilder`.
        axes: `AxisMap`, or the dict of rules for one, which names the axes of
            every variable. By default they are derived from the network's
            computation, see `derive()`.
        name: optional string.

    Attributes:
        callback_state: dict from names of callbacks to their state, data that
            JSON can hold. It is saved with the weights.

    Raises:
        GrowthError: a variable of the network has no axes, or axes that do not
            fit its shape.

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

    # Training methods of a network's class that a subclass replaces.
    _own_training = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls is GrowableModel:
            network = args[0] if args else kwargs.get("network")
            fitting = (kind for fits, kind in _KINDS if fits(network))
            cls = cast(type[Self], next(fitting, cls))
        return super().__new__(cls, *args, **kwargs)

    def __init__(
        self,
        network: keras.Model | ModelBuilder,
        axes: AxisMap | Mapping[str, str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
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
        self._growth_plans = []
        self._growth_log = None
        self._inheritance = None
        # Untracked: a dict that Keras or TensorFlow tracks is no plain data.
        set_untracked(self, "callback_state", {})
        set_untracked(self, "_programs", ProgramStore())
        # Keras' iterator over the data of the running `fit`, or `None`.
        self._epoch_iterator = None
        self.built = True

    def grow(
        self,
        target_config: Config,
        strategy: str | Strategy = "net2net",
        *,
        data: Any = None,
        probe: Any = None,
        optimizer_state: str = "carry",
        seed: int | None = None,
        trainable: Choice | None = None,
        learning_rate: str | None = None,
    ) -> Receipt:
        """Makes the model larger, in place.

        May be called before or after `compile()`, between two calls of
        `fit()`, or in a callback at the end of a batch or an epoch. The
        weights and the optimizer's state grow; step counters, metrics and
        random states go on. If it raises, the model is unchanged.

        Args:
            target_config: dict of the fields that change, see
                `growth_config`. The others stay.
            strategy: a name from `kgrow.strategies.names()`, or a strategy.
            data: optional batch `(x, y)` or dataset, on which the loss is
                measured before and after, and from which a strategy learns.
            probe: optional inputs on which outputs are compared before and
                after; by default those of `data`, or random ones.
            optimizer_state: `"carry"` maps the state of all entries through
                the plan's dual; `"reset_new"` keeps the state of old entries
                and resets that of new ones; `"reset"` resets all. As the step
                count goes on, second moments are reset to the mean of the old
                ones.
            seed: optional int. The same seed gives the same grown weights on
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
                learning rate, so that the grown network trains as the small
                one would, see the page on learning rates; `None` leaves the
                rates as they are.

        Returns:
            `Receipt`, also kept in `growth_history`.

        Raises:
            GrowthError: an argument is not valid, the strategy or the
                optimizer cannot grow the model, or a strategy that claims to
                keep the function does not.

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
        return self._logged(receipt)

    def _logged(self, receipt):
        assert receipt is not None  # None is for training options alone
        if self._growth_log is not None:
            self._growth_log.on_growth(receipt)
        return receipt

    def project(
        self,
        target_config: Config | None = None,
        strategy: str | Strategy | None = None,
        *,
        data: Any = None,
        probe: Any = None,
        optimizer_state: str = "carry",
        seed: int | None = None,
    ) -> Receipt:
        """Makes the model smaller, in place, by the way back of a growth.

        Right after that growth it returns the small model up to rounding.
        After training it keeps as much as the small network can hold: copies
        are read as the grown network reads them, new units and blocks are
        dropped. May be called wherever `grow()` may; save the larger model
        before if it is to stay. If it raises, the model is unchanged.

        Args:
            target_config: dict of the fields that change, see
                `growth_config`, with their sizes before the growth. `None` is
                the way back of the last growth that this model made since it
                was built or loaded.
            strategy: the strategy of the growth, if `target_config` is given.
            data: see `grow()`; the receipt has the loss before and after.
            probe: see `grow()`; the receipt has the difference of outputs on
                it.
            optimizer_state: see `grow()`. Moments go back as they were grown:
                momentum through the dual, second moments as means over copies;
                those of dropped units and blocks are dropped.
            seed: optional int, the growth's seed; by default that of the last
                receipt.

        Returns:
            `Receipt`, also kept in `growth_history`. It claims nothing and
            states the differences.

        Raises:
            GrowthError: an argument is not valid, the model has frozen
                entries, a gate of other units is still opening, or the growth
                has no way back: it learned a joint map of several variables,
                or did not keep every old entry and block.

        Example:

        >>> import kgrow
        >>> model = kgrow.models.GPT2(vocabulary_size=32, num_layers=1,
        ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
        ...     max_sequence_length=8)
        >>> receipt = model.grow({"hidden_dim": 16, "num_layers": 2}, seed=0)
        >>> receipt = model.project()
        >>> receipt.relative_diff < receipt.tolerance
        True
        >>> model.growth_config["hidden_dim"], model.growth_config["num_layers"]
        (8, 1)

        Reference:

        - Families of sizes from one run: "Efficient Construction of Model
          Family through Progressive Training Using Model Expansion"
          (2504.00623), which keeps each size as it was before its growth;
          here the sizes also get the later training.
        """
        return self._logged(
            ProjectionTransaction(
                self,
                target_config,
                strategy,
                data,
                probe,
                optimizer_state,
                seed,
            ).run()
        )

    def _like(self, network):
        """A model of the same class around another network."""
        made = GrowableModel.__new__(type(self), network)
        axes = self._architecture.axes
        GrowableModel.__init__(made, network, axes, name=self.name)
        return made

    @property
    def training_options(self) -> dict[str, Any]:
        """dict of the options that change how the network trains, but not its
        weights. `set_training_options()` changes them."""
        return self._architecture.training_options

    def set_training_options(self, **training_options: Any) -> None:
        """Changes how the network trains, such as its dropout.

        May be called wherever `grow()` may. Weights and the optimizer's state
        stay to the bit. If it raises, the model is unchanged.

        Args:
            **training_options: the options that change, such as `dropout=0.0`,
                `layer_drop=0.2`, `token_drop=0.5`, or for BERT `pooling=2`.

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
            # "direct" makes no claim: outputs may change, and with pooling
            # the inputs too.
            GrowthTransaction(
                self, {}, "direct", training_options=training_options
            ).run()

    def unfreeze(self, patterns: Choice | None = None) -> None:
        """Unfreezes entries that growths with `trainable="new"` froze.

        May be called wherever `grow()` may. The optimizer treats the entries
        as new ones: momentum starts from zero, second moments from the mean
        of the existing ones. Layers and variables that were frozen by hand
        stay frozen. If it raises, the model is unchanged.

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
    def active_gates(self) -> list[tuple[Gate, int]]:
        """`[(Gate, steps), ...]`: the gates that are still opening, and
        how many batches each has been trained for."""
        backend.sync(self)
        gates = gates_of(self.network)
        if gates is None:
            return []
        return list(zip(gates.active_gates, gates.steps(), strict=True))

    def remove_open_gates(self) -> None:
        """Removes the gates that are fully open; `fit` does it by itself.

        The function is kept up to rounding. The next step is compiled for a
        network without these gates.
        """
        self._change_gates(settle)

    def force_open_gates(self) -> None:
        """Removes all gates at once, however far open.

        Units and blocks behind a gate that was not fully open take full part
        from now on: the function changes.
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

    def strip(self) -> keras.Model:
        """Returns the network itself, with stock layers and no gates.

        It is the network of this model, not a copy. Gates that are fully open
        are removed from it.

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
    def teacher(self) -> keras.Model | None:
        """The network that teaches this one, or `None`."""
        return self._inheritance and self._inheritance.teacher

    @property
    def inheritance(self) -> Inheritance | None:
        """`Inheritance`, the teacher's part of the loss, or `None`."""
        return self._inheritance

    def remove_teacher(self) -> None:
        """Ends the teaching that the strategy `ki` began, and frees the small
        network."""
        backend.sync(self)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remember())
            self.set_teacher(None)
            self._refresh_functions()
            undo.pop_all()

    @property
    def growth_config(self) -> dict[str, Any]:
        """dict of the fields that can grow, with their present sizes."""
        return self._architecture.config

    @property
    def growth_history(self) -> list[Receipt]:
        """The `Receipt`s of all growths, oldest first."""
        return list(self._growth_history)

    @property
    def architecture(self) -> Architecture:
        """`Architecture` of the network."""
        return self._architecture

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
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

    # The only two methods to which `fit` passes its iterator; TensorFlow calls
    # the second.

    def _symbolic_build(self, iterator=None, data_batch=None):
        self._see_iterator(iterator)
        super()._symbolic_build(iterator, data_batch)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        self._see_iterator(iterator)
        super()._maybe_symbolic_build(iterator, data_batch)

    def _see_iterator(self, iterator):
        # The first one is the training data's; validation has its own.
        fitting = self._growth_log is not None
        if fitting and self._epoch_iterator is None:
            self._epoch_iterator = iterator

    def get_config(self) -> dict[str, Any]:
        check_unchanged(self._architecture, "Saving")
        # The builder is saved with its network, to build larger ones.
        recipe = recipe_of(self.network)
        made_by = recipe if isinstance(recipe, ModelBuilder) else self.network
        return {
            "network": keras.saving.serialize_keras_object(made_by),
            "axes": self._architecture.axes.get_config(),
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        custom_objects: Mapping[str, Any] | None = None,
    ) -> Self:
        config = dict(config)
        if isinstance(config.get("network"), dict):
            with keras.saving.custom_object_scope(custom_objects or {}):
                config["network"] = object_of(
                    config["network"],
                    (keras.Model, ModelBuilder),
                    "a network, or a `ModelBuilder`",
                )
            config["axes"] = AxisMap.from_config(config["axes"])
        model = cls(**config)
        # A file does not say whether a user gave them.
        model.axes_given = False
        return model

    def compile_from_config(self, config: dict[str, Any]) -> None:
        check_names(config)
        super().compile_from_config(config)

    def save(
        self,
        filepath: str | os.PathLike,
        overwrite: bool = True,
        zipped: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Saves the model, see `keras.Model.save()`.

        If saving fails, an existing file stays as it was. That does not hold
        for `keras.saving.save_model(model, filepath)`, which writes to the
        file before it asks the model.

        Raises:
            GrowthError: the model's state cannot be written to a file.
            FileError: the disk has no room for the file.
        """
        check_unchanged(self._architecture, "Saving")
        with whole_file(self, filepath, overwrite) as path:
            if path is not None:
                super().save(path, zipped=zipped, **kwargs)

    def save_weights(
        self,
        filepath: str | os.PathLike,
        overwrite: bool = True,
        max_shard_size: float | None = None,
    ) -> None:
        """Saves the weights, sizes and growth history, see
        `keras.Model.save_weights()`; raises as `save()` does."""
        check_unchanged(self._architecture, "Saving")
        if max_shard_size is not None:
            # Several files cannot be replaced at once.
            pack(growth_state.state_of(self))
            return super().save_weights(filepath, overwrite, max_shard_size)
        with whole_file(self, filepath, overwrite) as path:
            if path is not None:
                super().save_weights(path)

    def save_own_variables(self, store: Any) -> None:
        backend.sync(self)
        state = pack(growth_state.state_of(self))
        super().save_own_variables(store)
        store[_STORE_KEY] = state

    def load_own_variables(self, store: Any) -> None:
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

    def load_weights(
        self,
        filepath: str | os.PathLike,
        skip_mismatch: bool = False,
        **kwargs: Any,
    ) -> None:
        """Takes the sizes, state and weights of a saved model.

        Args:
            filepath: a file of weights, or of a model, or the directory of a
                `keras.callbacks.OrbaxCheckpoint`.
            skip_mismatch: see `keras.Model.load_weights()`. The growth state
                in the file must fit in any case.
            **kwargs: see `keras.Model.load_weights()`.

        Raises:
            FileError: the growth state in the file is not valid, or is of
                another kind of model. If it raises, the model is unchanged.
        """
        with all_or_nothing(self):
            if orbax.is_for(filepath):
                return orbax.load(self, filepath)
            super().load_weights(filepath, skip_mismatch, **kwargs)

    def get_state_tree(
        self, value_format: str = "backend_tensor"
    ) -> dict[str, Any]:
        """The model's state as nested dicts of arrays, which Orbax stores."""
        backend.sync(self)
        return tree_of(self, value_format)

    def set_state_tree(self, state_tree: dict[str, Any]) -> None:
        """Takes the state that `get_state_tree()` returned of another model.

        Args:
            state_tree: dict.

        Raises:
            FileError: it is of another kind of model, or incomplete. If it
                raises, the model is unchanged.
        """
        with all_or_nothing(self):
            load_tree(self, state_tree)


def _with_own_callbacks(model, callbacks):
    """Adds kgrow's own two callbacks: `GrowthLog` and `GateKeeper`."""
    keeper = GateKeeper()
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        others = [c for c in keras.tree.flatten(callbacks) if c is not None]
        if not any(map(_is_history, others)):
            # Keras would add it behind `GrowthLog`, which writes into it.
            others.append(keras.callbacks.History())
        log = GrowthLog(others)
        others.insert(_behind_histories(others), log)
        return log, [log, keeper], [*others, keeper]
    # The list is ready made.
    log = GrowthLog(callbacks.callbacks)
    for callback in (log, keeper):
        callback.set_model(model)
    callbacks.callbacks.insert(_behind_histories(callbacks.callbacks), log)
    callbacks.callbacks.append(keeper)
    return log, [log, keeper], callbacks


def _is_history(callback):
    return isinstance(callback, keras.callbacks.History)


def _behind_histories(callbacks):
    """The place behind every `History`, or the last one if there is none."""
    places = [i for i, c in enumerate(callbacks, 1) if _is_history(c)]
    return max(places, default=len(callbacks))
