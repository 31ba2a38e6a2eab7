"""The data, gradients and weights that a growth gives its strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.algebra.types import Array, Config, Values
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.growth.batches import Data
from kgrow.growth.grown_values import grown_values
from kgrow.growth.operator_fit import OperatorModel, fit_operator
from kgrow.strategies.base import Strategy
from kgrow.strategies.learned_operator import Learned
from kgrow.strategies.task import Task

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


class GrowthContext(Task):
    """The `Task` of one growth of a model.

    Args:
        model: `GrowableModel`.
        network: the grown network, whose weights have no values yet.
        sizes: dict of its fields.
        data: `Data`, or `None`.
        seed: int.

    Attributes:
        values: dict from paths to arrays, the weights that the plan will
            start from. A strategy may replace them by tuned ones.
        report: dict with the figures of a learned phase, or `None`.
    """

    def __init__(
        self,
        model: GrowableModel,
        network: keras.Model,
        sizes: Config,
        data: Data | None,
        seed: int,
    ) -> None:
        self.model = model
        self.sizes = sizes
        self.network = network
        self.seed = seed
        self.values = _values(model.network)
        self.report = None
        self._data = data

    def data_for(self, strategy: Strategy) -> Data:
        """The data of the growth, which `strategy` needs.

        Raises:
            GrowthError: there is none, or no loss.
        """
        if self._data is None:
            raise GrowthError(
                f"'{strategy.name}' learns how to grow, and needs data for "
                "that: grow(..., data=dataset), with what `fit` takes. "
                "Received: data=None"
            )
        if not self.model.compiled:
            raise GrowthError(
                f"'{strategy.name}' learns how to grow, and needs a loss for "
                "that. Call `compile()` first. Received: a model that is not "
                "compiled"
            )
        return self._data

    def fit(
        self,
        parameters: Values,
        make_plan: Callable[[Values], Plan],
        settings: Learned,
    ) -> dict[str, Array]:
        """Fits an operator, see `fit_operator()`.

        Returns:
            dict, the fitted parameters.
        """
        with backend.scope(self.model), backend.whole_data():
            fitted = OperatorModel(
                parameters,
                make_plan,
                self.values,
                self.network,
                self.model.loss_with,
                settings.tune_small,
            )
            self.report = fit_operator(
                fitted,
                parameters,
                self.data_for(settings),
                settings,
                self.seed,
            )
            if settings.tune_small:
                self.values = fitted.small_values()
            values = fitted.operator_values()
            # A Keras model is a reference cycle: without this its memory would
            # be held until the garbage collector runs.
            held = [*fitted.variables, *fitted.optimizer.variables]
            backend.delete_buffers([backend.storage(v) for v in held])
        return values

    def grown(self, plan: Plan) -> dict[str, Array]:
        """The values that a plan makes of `values`, on the devices of the
        grown network's variables.

        Args:
            plan: `Plan`.

        Returns:
            dict from paths to arrays.
        """
        variables = {
            relative_path(self.network, w): w
            for w in grown_weights(self.network)
        }
        return dict(grown_values(plan, self.values, variables))

    def build(self, config: Config) -> tuple[keras.Model, ModelSpec]:
        """The grown network with some sizes changed, for measurements.

        Args:
            config: dict of the fields that differ.

        Returns:
            `(network, spec)`, the weights without values.
        """
        source = self.model.architecture
        target = {f: self.sizes[f] for f in source.config}
        with backend.scope(self.model):
            return source.build({**target, **config})

    def gradients(
        self,
        network: Any,
        values: Values,
        paths: Sequence[str],
        settings: Any,
    ) -> dict[str, np.ndarray]:
        """Gradients of the loss, over the data.

        Args:
            network: a network; its weights need no values.
            values: dict from paths to arrays, the weights to use.
            paths: list of the paths whose gradients are wanted.
            settings: the `Strategy` that asks, with its `batch_size` and
                `steps`.

        Returns:
            dict from paths to arrays, the mean over the examples.
        """
        tensor = keras.ops.convert_to_tensor
        variables = {
            relative_path(network, w): w for w in grown_weights(network)
        }

        def loss(moving, fixed, batch):
            x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
            given = {**fixed, **dict(zip(paths, moving, strict=True))}
            mapping = [(variables[p], v) for p, v in given.items()]
            with keras.StatelessScope(
                state_mapping=mapping, collect_losses=True
            ):
                y_pred = network(x, training=False)
                return self.model.loss_with(
                    network, x, y, y_pred, weights, training=False
                )

        gradient = backend.gradient(loss)
        moving = [tensor(values[p]) for p in paths]
        fixed = {p: tensor(v) for p, v in values.items() if p not in paths}
        data = self.data_for(settings)
        totals, count = [np.zeros(()) for _ in paths], 0
        for batch in data.once(settings.batch_size, settings.steps):
            x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
            batch = (x, y) if weights is None else (x, y, weights)
            batch = keras.tree.map_structure(tensor, batch)
            rows = len(keras.tree.flatten(x)[0])
            found = gradient(moving, fixed, batch)
            totals = [t + rows * g for t, g in zip(totals, found, strict=True)]
            count += rows
        if not count:
            raise GrowthError(
                f"'{settings.name}' measures gradients on `data`, which holds "
                "no examples. Received: no batch"
            )
        return {
            path: total / count
            for path, total in zip(paths, totals, strict=True)
        }


def _values(network):
    return {
        relative_path(network, w): backend.to_numpy_if_cpu(backend.storage(w))
        for w in grown_weights(network)
    }
