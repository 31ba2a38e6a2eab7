"""Base class of strategies that fit their operator to data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from kgrow.algebra.deserialization import object_of
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import keras
from kgrow.algebra.plan import Plan
from kgrow.algebra.scalar_checks import check_count
from kgrow.algebra.spec import ModelSpec
from kgrow.algebra.types import Array
from kgrow.strategies.base import Strategy
from kgrow.strategies.task import Task

if TYPE_CHECKING:
    from keras.callbacks import Callback
    from keras.optimizers import Optimizer
    from keras.optimizers.schedules import LearningRateSchedule

# The initial parameters by name, and a function from parameters to a plan.
Operator: TypeAlias = tuple[
    dict[str, np.ndarray], Callable[[Mapping[str, Array]], Plan]
]


class Learned(Strategy):
    """A strategy whose operator is trained on data before it is applied.

    The parameters of the operator are the weights of a Keras model, trained
    with an optimizer of its own to minimize the compiled loss of the model
    that grows. A subclass defines the parameters and the plan they make.

    Args:
        steps: int, training steps of the operator; 0 applies the initial
            operator.
        learning_rate: float or a Keras schedule, for Adam, the default
            optimizer.
        optimizer: optional Keras optimizer, its name or its config. Replaces
            the default one, and `learning_rate` with it.
        batch_size: int, used if the data are arrays.
        tune_small: bool, whether the small network's weights are trained too.
        patience: optional int. The steps are divided into ten intervals;
            training stops if the loss has not fallen for this many of them.
        callbacks: Keras callbacks for this training. They are not part of the
            config.
        verbose: as in `keras.Model.fit`.
    """

    grows = frozenset({"width", "depth"})

    needs_data = True
    standalone = True
    default_rate = 1e-3

    def __init__(
        self,
        steps: int = 100,
        learning_rate: float | LearningRateSchedule | None = None,
        optimizer: Optimizer | str | dict[str, Any] | None = None,
        batch_size: int = 32,
        tune_small: bool = False,
        patience: int | None = None,
        callbacks: Sequence[Callback] = (),
        verbose: int | str = "auto",
    ) -> None:
        self.steps = check_count("steps", steps, 0)
        self.batch_size = check_count("batch_size", batch_size)
        self.patience = patience
        if patience is not None:
            self.patience = check_count("patience", patience)
        if optimizer is not None and learning_rate is not None:
            raise GrowthError(
                "`optimizer` has a rate of its own; give one of the two. "
                f"Received: optimizer={optimizer!r}, "
                f"learning_rate={learning_rate!r}"
            )
        if learning_rate is None and optimizer is None:
            learning_rate = self.default_rate
        self.learning_rate = learning_rate
        self.optimizer: Optimizer | None = None
        if optimizer is not None:
            self.optimizer = keras.optimizers.get(optimizer)
        self.tune_small = bool(tune_small)
        self.callbacks = list(callbacks)
        self.verbose = verbose

    def operator(
        self,
        source: ModelSpec,
        target: ModelSpec,
        seed: int,
        dtype: str = "float64",
    ) -> Operator:
        """The operator between two networks.

        Args:
            source: `ModelSpec` before.
            target: `ModelSpec` after.
            seed: int.
            dtype: string, of the initial values.

        Returns:
            `(parameters, make_plan)`: a dict from names to arrays, the initial
            values, and a function from such a dict, of arrays or of tensors,
            to a `Plan`.
        """
        raise NotImplementedError

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        parameters, make_plan = self.operator(source, target, seed)
        return make_plan(parameters)

    def fit(self, plan: Plan, task: Task) -> Plan:
        if not self.steps:
            return plan
        task.data_for(self)
        parameters, make_plan = self.operator(
            plan.source, plan.target, plan.seed, "float32"
        )
        return make_plan(task.fit(parameters, make_plan, self))

    def make_optimizer(self) -> Optimizer:
        """A new optimizer for the operator."""
        if self.optimizer is None:
            return keras.optimizers.Adam(self.learning_rate)
        return type(self.optimizer).from_config(self.optimizer.get_config())

    def get_config(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "learning_rate": _serialized(self.learning_rate),
            "optimizer": self.optimizer
            and keras.optimizers.serialize(self.optimizer),
            "batch_size": self.batch_size,
            "tune_small": self.tune_small,
            "patience": self.patience,
            "verbose": self.verbose,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        rate = config.get("learning_rate")
        if isinstance(rate, dict):
            rate = object_of(
                rate,
                keras.optimizers.schedules.LearningRateSchedule,
                "a learning-rate schedule",
            )
        optimizer = config.get("optimizer")
        if isinstance(optimizer, dict):
            optimizer = object_of(
                optimizer, keras.optimizers.Optimizer, "an optimizer"
            )
        return cls(**{**config, "learning_rate": rate, "optimizer": optimizer})


def _serialized(rate):
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return keras.optimizers.schedules.serialize(rate)
    return rate
