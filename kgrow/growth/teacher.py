"""Knowledge inheritance: the small network teaches the grown one at first."""

from __future__ import annotations

from typing import Any

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.types import Array
from kgrow.architecture.architecture import Architecture, relative_path


class Inheritance(keras.layers.Layer):
    """The loss that a teacher adds, fading over some training steps.

    With `a` falling linearly from `weight` to zero, `a T^2 KL(p || q)` is
    added to `1 - a` times the model's own loss, where `p` and `q` are the
    teacher's and the model's softmax at the temperature `T`. Once `a` is zero
    the teacher is no longer run.

    Args:
        teacher: `Architecture` of a network that outputs logits. Its variables
            are frozen, and their paths begin with `teacher/`, until
            `release()`.
        weight: float in `[0, 1]`, at the first step.
        steps: int, after which `a` is zero.
        temperature: float.
    """

    def __init__(
        self,
        teacher: Architecture,
        weight: float,
        steps: int,
        temperature: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(name="inheritance", **kwargs)
        self._sizes = dict(teacher.config)
        network = teacher.network
        self._flags = [(w, w.trainable) for w in network.variables]
        for variable, _ in self._flags:
            variable.trainable = False
        self._paths = [(w, w.path) for w in network.variables]
        for variable, path in self._paths:
            # Remembered by the network before the path changes.
            relative_path(network, variable)
            variable._path = f"teacher/{path}"
        self.teacher = network
        self.weight = weight
        self.steps = steps
        self.temperature = temperature
        # A counter of its own, advanced in the compiled step: the optimizer's
        # may be reset.
        self.counter = self.add_weight(
            name="counter",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        del input_shape

    def release(self) -> None:
        """Makes the network what it was before it became a teacher."""
        for variable, trainable in self._flags:
            variable.trainable = trainable
        for variable, path in self._paths:
            variable._path = path

    def to_config(self) -> dict[str, Any]:
        """Sizes and settings, from which a file restores the teacher."""
        return {
            "sizes": self._sizes,
            "settings": {
                "weight": self.weight,
                "steps": self.steps,
                "temperature": self.temperature,
            },
        }

    def blend(
        self, loss: Array, x: Any, y_pred: Any, sample_weight: Any = None
    ) -> Array:
        """Adds the teacher's loss, with the weights of the examples, and
        counts one step."""
        if len(keras.tree.flatten(y_pred)) != 1:
            raise GrowthError(
                "Knowledge inheritance compares one output of logits. "
                f"Received: {len(keras.tree.flatten(y_pred))} outputs"
            )
        done = ops.cast(self.counter, "float32") / self.steps
        share = self.weight * ops.maximum(1.0 - done, 0.0)

        def teach():
            divergence = self._divergence(x, y_pred, sample_weight)
            return ops.cast(divergence, loss.dtype)

        def silent():
            return ops.zeros((), loss.dtype)

        taught = ops.cond(share > 0, teach, silent)
        self.counter.assign(self.counter + 1)
        share = ops.cast(share, loss.dtype)
        return (1.0 - share) * loss + share * taught

    def _divergence(self, x, y_pred, sample_weight):
        t = self.temperature
        target = self.teacher(x, training=False)
        target = ops.cast(ops.stop_gradient(target), "float32") / t
        log_p = ops.log_softmax(target)
        log_q = ops.log_softmax(ops.cast(y_pred, "float32") / t)
        each = ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)
        if sample_weight is not None:
            weights = ops.cast(sample_weight, "float32")
            # One per example, where there are several positions in each.
            while len(weights.shape) < len(each.shape):
                weights = ops.expand_dims(weights, -1)
            if len(weights.shape) > len(each.shape):
                weights = ops.squeeze(weights, -1)
            each = each * weights
        return t * t * ops.mean(each)
