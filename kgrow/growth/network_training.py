"""Losses, metrics and steps of a model, as the network it wraps defines them.

Keras calls the methods of the model that is compiled, which is the wrapper. A
network whose class defines its own `compute_loss()`, `train_step()`, metrics
and the like must be asked, and must find what was compiled where it looks for
it: in its own attributes. So the wrapper lends the network its compiled state
for the length of each call.
"""

from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import set_untracked, with_attributes

# What `compile()` sets, and what a JAX step collects losses in.
_COMPILED = (
    "compiled",
    "loss",
    "optimizer",
    "steps_per_execution",
    "_compile_loss",
    "_compile_metrics",
    "_jit_compile",
    "_loss_tracker",
    "_losses_override",
    "_run_eagerly",
)
_STEPS = ("train_step", "test_step", "predict_step")
# A network's own version of these never runs: Keras calls the wrapper's.
_OURS = (
    "compile",
    "fit",
    "evaluate",
    "predict",
    "train_on_batch",
    "test_on_batch",
    "predict_on_batch",
    "make_train_function",
    "make_test_function",
    "make_predict_function",
    "stateless_compute_loss",
    "compute_loss_and_updates",
    "_compute_loss",
)


def overrides(network, name):
    """Whether a network's class has its own version of a method of Keras'."""
    definer = next(c for c in type(network).__mro__ if name in vars(c))
    return definer.__module__.partition(".")[0] != "keras"


def check_overrides(network, handled=()):
    """Refuses a network whose own training would silently not be run.

    Args:
        network: a `keras.Model`.
        handled: names of methods that the wrapper's class sees to.

    Raises:
        GrowthError: its class overrides methods that a wrapper cannot
            delegate to.
    """
    known = [
        name
        for name in _OURS
        if name not in handled
        and hasattr(type(network), name)
        and overrides(network, name)
    ]
    on_instance = [n for n in ("compute_loss", *_STEPS) if n in vars(network)]
    if known or on_instance:
        raise GrowthError(
            f"The network {network.name!r} has its own version of "
            f"{', '.join(f'`{n}()`' for n in known + on_instance)}, which a "
            "growable model would not run: it compiles and trains the network "
            "itself. Override `compute_loss()`, `compute_metrics()`, "
            "`train_step()`, `test_step()`, `predict_step()` or `metrics` in "
            "its class instead, which are run. Received: "
            f"{type(network).__name__}"
        )


class NetworkTraining:
    """The part of a growable model that trains as its network says."""

    def _lent_to(self, network):
        """Context in which a network finds what was compiled here."""
        own = vars(self)
        return with_attributes(
            network, {name: own[name] for name in _COMPILED if name in own}
        )

    def loss_with(
        self,
        network,
        x,
        y,
        y_pred,
        sample_weight=None,
        training=True,
        penalties=(),
    ):
        """The loss that a network's class computes of what was compiled here.

        Args:
            network: the present network, or one of other sizes.
            x: inputs.
            y: targets.
            y_pred: outputs.
            sample_weight: optional weights of the samples.
            training: bool.
            penalties: list of scalars, `network.losses` as they were when it
                computed `y_pred`; by default what they are now.

        Returns:
            scalar tensor.
        """
        with self._lent_to(network):
            if penalties:
                # As Keras' step on JAX hands them over.
                set_untracked(network, "_losses_override", list(penalties))
            return network._compute_loss(
                x, y, y_pred, sample_weight, training=training
            )

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = self.loss_with(
            self.network, x, y, y_pred, sample_weight, training
        )
        if self._inheritance is None or not training:
            return loss
        return self._inheritance.blend(loss, x, y_pred)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        with self._lent_to(self.network) as network:
            return network.compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self):
        with self._lent_to(self.network) as network:
            return network.metrics

    def get_metrics_result(self):
        with self._lent_to(self.network) as network:
            return network.get_metrics_result()

    def reset_metrics(self):
        with self._lent_to(self.network) as network:
            network.reset_metrics()

    # Steps that Keras defines run here, where a teacher is seen; on JAX they
    # take the state beside the data.

    def train_step(self, *args):
        return self._step("train_step", super().train_step, args)

    def test_step(self, *args):
        return self._step("test_step", super().test_step, args)

    def predict_step(self, *args):
        return self._step("predict_step", super().predict_step, args)

    def _step(self, name, step, args):
        if not overrides(self.network, name):
            return step(*args)
        with self._lent_to(self.network) as network:
            return getattr(network, name)(*args)

    def check_teachable(self):
        """Raises if a teacher's part of the loss would not be computed."""
        if overrides(self.network, "train_step"):
            raise GrowthError(
                "A teacher's loss is added in the step that Keras defines, "
                "and the network has its own `train_step()`. Choose another "
                f"strategy. Received: {type(self.network).__name__}"
            )
