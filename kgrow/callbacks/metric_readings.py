"""Metrics over the batches since the last reading.

Keras' metrics are means over the epoch so far. Late in a long epoch they
hardly move, whatever the loss does; what is wanted is the mean over the last
batches, which two such means determine.
"""

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError


def check_monitor(model, monitor, stage):
    """Refuses a metric that `fit` will not log.

    Args:
        model: compiled model.
        monitor: string.
        stage: int, the stage's number, for the message.

    Raises:
        GrowthError: there is no such metric.
    """
    metrics = model._compile_metrics
    built = metrics is None or metrics.built
    known = sorted(_running(model) if built else _declared(metrics))
    if monitor.removeprefix("val_") not in known:
        raise GrowthError(
            f"Stage {stage} watches a metric that is not logged. Received: "
            f"monitor={monitor!r}. There are: {', '.join(known)}, and the "
            "same of validation, with 'val_' before."
        )


def running(model, name):
    """The metric so far in the running epoch, a float, or `None`.

    The host waits for the device here.
    """
    backend.sync(model)
    value = _running(model).get(name)
    return None if value is None else float(value)


def since(model, name, value, batches, before):
    """The mean of a metric over the batches since another look at it.

    Args:
        model: the model, which knows what kind of metric it is.
        name: string.
        value: float, the metric over the epoch so far.
        batches: int, how many that were.
        before: `[batches, value]` of the other look, or `None`.

    Returns:
        float; `value` itself where the metric is no mean.

    Example:

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> since(model, "loss", 2.0, 10, [5, 3.0])
    1.0
    """
    if before is None or not _is_mean(model, name):
        return value
    seen, mean = before
    return (value * batches - mean * seen) / (batches - seen)


def _running(model):
    return dict(model.get_metrics_result())


def _declared(metrics):
    """Names of metrics given to `compile()`, for TensorFlow's trainer builds
    them at the first batch only."""
    given = keras.tree.flatten(
        [metrics._user_metrics, metrics._user_weighted_metrics]
    )
    names = {"loss"}
    for metric in given:
        if isinstance(metric, str):
            names.add(metric)
        elif metric is not None:
            names.add(getattr(metric, "name", None) or metric.__name__)
    return names


def _is_mean(model, name):
    if name == "loss":
        return True
    leaves = [
        leaf
        for metric in model.metrics
        for leaf in getattr(metric, "metrics", None) or [metric]
    ]
    found = [leaf for leaf in leaves if leaf.name == name]
    return bool(found) and all(
        isinstance(leaf, keras.metrics.Mean) for leaf in found
    )
