"""Knowledge inheritance: a small network teaches a large one for a while."""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError


class Inheritance(keras.layers.Layer):
    """The loss that a teacher adds, fading over some training steps.

    With `a` falling linearly from `weight` to zero, `a T^2 KL(p || q)` is
    added to `1 - a` times the model's own loss, where `p` and `q` are the
    teacher's and the model's softmax at the temperature `T`. When it is zero
    the teacher is no longer run.

    Args:
        teacher: `Architecture` of a network that puts out logits. It rests
            until `release()`.
        weight: float in `[0, 1]`, at the first step.
        steps: int, after which the teacher falls silent.
        temperature: float.
    """

    def __init__(self, teacher, weight, steps, temperature, **kwargs):
        super().__init__(name="inheritance", **kwargs)
        self._sizes = dict(teacher.config)
        network = teacher.network
        self._flags = [(w, w.trainable) for w in network.variables]
        for variable, _ in self._flags:
            variable.trainable = False
        self.teacher = network
        self.weight = weight
        self.steps = steps
        self.temperature = temperature
        # Counted here, in the step itself: no word from the host is needed,
        # and the optimizer may begin anew.
        self.counter = self.add_weight(
            name="counter",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.built = True

    def build(self, input_shape=None):
        del input_shape

    def release(self):
        """Lets the teacher train again as it did before."""
        for variable, trainable in self._flags:
            variable.trainable = trainable

    def to_config(self):
        """Plain data to find the same teacher again."""
        return {
            "sizes": self._sizes,
            "settings": {
                "weight": self.weight,
                "steps": self.steps,
                "temperature": self.temperature,
            },
        }

    def blend(self, loss, x, y_pred):
        """The loss with the teacher's part, and one step counted."""
        if len(keras.tree.flatten(y_pred)) != 1:
            raise GrowthError(
                "Knowledge inheritance compares one output of logits. "
                f"Received: {len(keras.tree.flatten(y_pred))} outputs"
            )
        done = ops.cast(self.counter, "float32") / self.steps
        share = self.weight * ops.maximum(1.0 - done, 0.0)

        def teach():
            return ops.cast(self._divergence(x, y_pred), loss.dtype)

        def rest():
            return ops.zeros((), loss.dtype)

        taught = ops.cond(share > 0, teach, rest)
        self.counter.assign(self.counter + 1)
        share = ops.cast(share, loss.dtype)
        return (1.0 - share) * loss + share * taught

    def _divergence(self, x, y_pred):
        t = self.temperature
        target = self.teacher(x, training=False)
        target = ops.cast(ops.stop_gradient(target), "float32") / t
        log_p = ops.log_softmax(target)
        log_q = ops.log_softmax(ops.cast(y_pred, "float32") / t)
        each = ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)
        return t * t * ops.mean(each)
