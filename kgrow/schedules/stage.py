"""One stage of a run that grows: its sizes, and how the model gets there."""

import keras

from kgrow import strategies
from kgrow.algebra.config_fields import check_size, shrinks
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plain_data import plain
from kgrow.algebra.ramp import Ramp
from kgrow.algebra.scalar_checks import check_count, check_seed
from kgrow.growth.optimizer.grow_state import POLICIES, is_policy
from kgrow.growth.trainable_choice import check_patterns, is_word
from kgrow.schedules import stage_bounds
from kgrow.schedules.learning_rate import apply_policies

_DEFAULT = "msg"
_IDLE = apply_policies.get("keep")


@keras.saving.register_keras_serializable("kgrow")
class Stage:
    """A stretch of training at one size.

    What a stage leaves out stays as it was in the stage before: sizes, batch
    size, sequence length, data, training_options.

    Args:
        until: where the stage ends: a training step, counted in batches over
            all of training; `Epochs(n)`, `Tokens(n)`, or a trigger. That of
            the last stage is the end of training.
        config: dict of the sizes that change, as in `model.grow()`. That of
            the first stage describes the model as it is at the start.
        strategy: how the model grows into this stage: a strategy, its name
            or its config.
        ramp: optional int or `Ramp`, handed to the strategy: the steps in
            which what is new is let in.
        learning_rate: what becomes of the learning rate: a policy, its name
            or a list of them; see
            `kgrow.schedules.learning_rate.apply_policies`.
        batch_size: optional int, from this stage on. Needs `kgrow.fit`.
        sequence_length: optional int, to which the data are cut from this
            stage on. Needs `kgrow.fit`.
        data: optional string, the name of the data from this stage on. Needs
            `kgrow.fit`.
        training_options: optional dict, the arguments of
            `model.set_training_options()`.
        dropout: optional float, short for `training_options={"dropout": ...}`.
        trainable: see `model.grow()`; a function cannot be saved, and is
            refused. In a stage that grows nothing, `"all"` and patterns call
            `model.unfreeze()`.
        optimizer_state: see `model.grow()`.
        seed: optional int, of the growth; the stage's number if left out.

    Raises:
        GrowthError: an argument is none of what it may be.

    Example:

    >>> Stage(1000, {"num_layers": 4}, "stack").config
    {'num_layers': 4}
    """

    def __init__(
        self,
        until,
        config=None,
        strategy=_DEFAULT,
        ramp=None,
        learning_rate=None,
        batch_size=None,
        sequence_length=None,
        data=None,
        training_options=None,
        dropout=None,
        trainable=None,
        optimizer_state="carry",
        seed=None,
    ):
        self.until = stage_bounds.get(until)
        self.config = _sizes(config)
        self.strategy = _strategy(strategy)
        self.ramp = None if ramp is None else Ramp.get(ramp)
        self.learning_rate = _policies(learning_rate)
        self.batch_size = _count("batch_size", batch_size)
        self.sequence_length = _count("sequence_length", sequence_length)
        self.data = data
        self.training_options = _training_options(training_options, dropout)
        self.trainable = _trainable(trainable)
        self.optimizer_state = optimizer_state
        self.seed = None if seed is None else check_seed(seed)
        self._check()

    @property
    def grown_by(self):
        """The `Strategy` that the model grows by, with the ramp in it.

        Raises:
            GrowthError: the strategy takes no ramp.

        Example:

        >>> Stage(5, {"num_layers": 4}, "stack").grown_by
        Stack(zero_exits=False)
        """
        strategy = strategies.get(self.strategy)
        if self.ramp is None:
            return strategy
        config = strategy.get_config()
        if "ramp" not in config:
            raise GrowthError(
                f"The strategy '{strategy.name}' lets in all that is new at "
                "once, and takes no `ramp`; 'msg' does. Received: "
                f"ramp={self.ramp!r}"
            )
        return type(strategy).from_config({**config, "ramp": self.ramp})

    @property
    def grows_plainly(self):
        """Whether nothing is said about the way the model grows."""
        return (
            self.strategy == _DEFAULT
            and self.ramp is None
            and self.optimizer_state == "carry"
        )

    @property
    def unfreezes(self):
        """The arguments of `model.unfreeze()` where the stage grows nothing,
        or `None` if it is not called.

        Example:

        >>> Stage(5, trainable=["norm"]).unfreezes
        (['norm'],)
        """
        if self.trainable in (None, "new"):
            return None
        return () if self.trainable == "all" else (self.trainable,)

    @property
    def changes(self):
        """Whether the stage changes anything besides sizes."""
        acts = [p for p in self.learning_rate or () if p not in _IDLE]
        return (
            bool(acts)
            or self.unfreezes is not None
            or any(
                value is not None
                for value in (
                    self.batch_size,
                    self.sequence_length,
                    self.data,
                    self.training_options,
                )
            )
        )

    def replaced(self, **arguments):
        """The same stage with other arguments.

        Example:

        >>> Stage(5, {"num_layers": 4}).replaced(until=7).until
        Steps(7)
        """
        return type(self).from_config({**self.get_config(), **arguments})

    def get_config(self):
        return {
            "until": stage_bounds.serialize(self.until),
            "config": dict(self.config),
            "strategy": _serialized(self.strategy),
            "ramp": _ramp_config(self.ramp),
            "learning_rate": _policies_config(self.learning_rate),
            "batch_size": self.batch_size,
            "sequence_length": self.sequence_length,
            "data": self.data,
            "training_options": self.training_options
            and dict(self.training_options),
            "trainable": self.trainable,
            "optimizer_state": self.optimizer_state,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def _check(self):
        if self.data is not None and not isinstance(self.data, str):
            raise GrowthError(
                "`data` of a stage is the name of data, which `kgrow.fit` is "
                f"given in a dict. Received: data={self.data!r}"
            )
        if not is_policy(self.optimizer_state):
            raise GrowthError(
                f"`optimizer_state` must be one of {POLICIES}. Received: "
                f"optimizer_state={self.optimizer_state!r}"
            )

    def __repr__(self):
        defaults = _DEFAULTS
        given = [
            f"{key}={value!r}"
            for key, value in self.get_config().items()
            if key not in ("until", "config") and value != defaults.get(key)
        ]
        until = stage_bounds.serialize(self.until)
        until = until if isinstance(until, int) else self.until
        return f"Stage({', '.join([repr(until), repr(self.config), *given])})"

    def __eq__(self, other):
        return type(self) is type(other) and (
            self.get_config() == other.get_config()
        )

    __hash__ = None


_DEFAULTS = {"strategy": _DEFAULT, "optimizer_state": "carry", "config": {}}


def readable(config):
    """A stage's config without default values.

    Example:

    >>> readable(Stage(5, {"num_layers": 4}).get_config())
    {'until': 5, 'config': {'num_layers': 4}}
    """
    return {k: v for k, v in config.items() if v != _DEFAULTS.get(k)}


def _sizes(config):
    config = {} if config is None else config
    if not isinstance(config, dict):
        raise GrowthError(
            "`config` is a dict of sizes, such as {'hidden_dim': 192}. "
            f"Received: config={config!r}"
        )
    sizes = {f: check_size(f, value) for f, value in config.items()}
    for field, value in sizes.items():
        if shrinks(value, [0] * len(value) if isinstance(value, list) else 0):
            raise GrowthError(
                f"`{field}` must not be negative. Received: {field}={value!r}"
            )
    return sizes


def _strategy(strategy):
    """A name as it is, so that a schedule reads well; else the strategy."""
    if isinstance(strategy, str):
        return strategy.lower()
    return strategies.get(strategy)


def _serialized(strategy):
    if isinstance(strategy, str):
        return strategy
    return strategies.serialize(strategy)


def _ramp_config(ramp):
    if ramp is None or ramp == Ramp(ramp.steps):
        return ramp and ramp.steps
    return ramp.get_config()


def _trainable(trainable):
    """As data that JSON can hold."""
    if trainable is None or is_word(trainable):
        return trainable
    return list(check_patterns(trainable, "trainable"))


def _policies(policies):
    if policies is None:
        return None
    return apply_policies.get(policies) or None


def _policies_config(policies):
    """Serializes policies, by name where the name says everything."""
    for name in ("keep", "reset"):
        if policies == apply_policies.get(name):
            return name
    return policies and apply_policies.serialize(policies)


def _count(name, value):
    if value is None:
        return None
    return check_count(name, value)


def _training_options(training_options, dropout):
    if training_options is not None and not isinstance(training_options, dict):
        raise GrowthError(
            "`training_options` is a dict of the arguments of "
            "`model.set_training_options()`. "
            f"Received: training_options={training_options!r}"
        )
    training_options = plain(training_options or {}, "training_options")
    if dropout is not None:
        dropout = plain(dropout, "dropout")
        if training_options.get("dropout", dropout) != dropout:
            raise GrowthError(
                "Give dropout once. Received: "
                f"dropout={dropout}, training_options={training_options}"
            )
        training_options["dropout"] = dropout
    return training_options or None
