"""One growth as its strategy sees it, beyond the two specs."""

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.growth.grown_values import grown_values
from kgrow.growth.operator_fit import OperatorModel, fit_operator
from kgrow.strategies.task import Task


class GrowthContext(Task):
    """What a strategy asks for as its `Task`, answered from the model.

    Args:
        model: `GrowableModel`.
        network: the grown network, whose weights have no values yet.
        sizes: dict of its fields.
        data: `Data`, or `None`.
        seed: int.

    Attributes:
        values: dict from paths to arrays, the weights that the plan will
            start from. A strategy may replace them by tuned ones.
        report: dict of what a learned phase did, or `None`.
    """

    def __init__(self, model, network, sizes, data, seed):
        self.model = model
        self.sizes = sizes
        self.network = network
        self.seed = seed
        self.values = _values(model.network)
        self.report = None
        self._data = data

    def data_for(self, strategy):
        """The data, which `strategy` cannot do without.

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

    def fit(self, parameters, make_plan, settings):
        """Fits an operator; see `operator_fit`.

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
            # A Keras model refers to itself; it would wait for the collector
            # while the growth goes on.
            held = [*fitted.variables, *fitted.optimizer.variables]
            backend.delete_buffers([backend.storage(v) for v in held])
        return values

    def grown(self, plan):
        """All variables that a plan makes of `values`, each where the grown
        network's own is to lie.

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

    def build(self, config):
        """A network like the grown one with other sizes, for measurements.

        Args:
            config: dict of the fields that differ.

        Returns:
            `(network, spec)`, the weights without values.
        """
        source = self.model.architecture
        target = {f: self.sizes[f] for f in source.config}
        with backend.scope(self.model):
            return source.build({**target, **config})

    def gradients(self, network, values, paths, strategy):
        """Gradients of the loss, on the first batch of the data.

        Args:
            network: a network; its weights need no values.
            values: dict from paths to arrays, the weights to use.
            paths: list of the paths whose gradients are wanted.
            strategy: the `Strategy` that asks.

        Returns:
            dict from paths to arrays.
        """
        batch = self.data_for(strategy).first
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        tensor = keras.ops.convert_to_tensor
        x, y = keras.tree.map_structure(tensor, (x, y))
        variables = {
            relative_path(network, w): w for w in grown_weights(network)
        }
        fixed = {p: tensor(v) for p, v in values.items() if p not in paths}

        def loss(moving):
            given = {**fixed, **dict(zip(paths, moving, strict=True))}
            mapping = [(variables[p], v) for p, v in given.items()]
            with keras.StatelessScope(
                state_mapping=mapping, collect_losses=True
            ):
                y_pred = network(x, training=False)
                return self.model.loss_with(
                    network, x, y, y_pred, weights, training=False
                )

        start = [tensor(values[p]) for p in paths]
        return dict(zip(paths, backend.gradients(loss, start), strict=True))


def _values(network):
    return {
        relative_path(network, w): backend.to_numpy_if_cpu(backend.storage(w))
        for w in grown_weights(network)
    }
