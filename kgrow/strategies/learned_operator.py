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

# The initial parameters by name, and what makes a plan of such parameters.
Operator: TypeAlias = tuple[
    dict[str, np.ndarray], Callable[[Mapping[str, Array]], Plan]
]


class Learned(Strategy):
    """Fits its operator on data, for some steps, before it is applied.

    The operator's parameters are trained as the weights of a Keras model, by
    the compiled loss of the model that grows, with an optimizer of their own.
    Subclasses say what the parameters are and which plan they make.

    Args:
        steps: int, training steps of the operator; with 0 the operator is
            used as it starts.
        learning_rate: float, or a Keras schedule, for the default optimizer,
            which is Adam.
        optimizer: optional Keras optimizer, its name or its config, in place
            of the default one and of `learning_rate`.
        batch_size: int, where the data are arrays.
        tune_small: bool, whether the small weights train along.
        patience: optional int. Stops when the loss of a tenth of the steps
            has not fallen for so many of them.
        callbacks: Keras callbacks for the fit. They are not part of the
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
            values, and a function that makes a `Plan` of such a dict, of
            arrays or of tensors.
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
        if not parameters:
            return plan
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
