"""Training a deep model by its lower parts first."""

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.scalar_checks import check_count, check_seed


class SubModels(keras.callbacks.Callback):
    """Trains, in every step, the bottom of the stack up to a random depth.

    The first of bert2BERT's two stages. Blocks up to a depth that is drawn
    anew in every step are run, with the model's own head on top; of these, the
    highest ones, as many as one depth lies above the next, get gradients, and
    the head. A step costs what the part costs: each depth has a compiled step
    of its own. From `steps` on the whole model trains.

    What gets no gradient rests under plain descent. An optimizer with
    momentum goes on moving it on JAX, where it sees a gradient of zero; on
    TensorFlow and torch blocks that were not run are left out of the step.

    Deviates: the paper does not say how the depth is drawn; here all are
    equally likely.

    Args:
        depths: ints, the depths to draw from, the whole depth among them or
            not; every one a number of blocks that the model has.
        steps: int, training steps until the whole model trains.
        seed: int.

    Raises:
        GrowthError: at the start of `fit`, if the model has fewer blocks, or
            cannot run a part of them.

    Example:

    >>> SubModels([3, 6, 9, 12], steps=1000).trained(9)
    3

    Reference:

    - Chen et al., "bert2BERT" (2110.07143), Sec. 3.5, two-stage pre-training.
    """

    def __init__(self, depths, steps, seed=0):
        super().__init__()
        self.steps = check_count("steps", steps)
        if not isinstance(depths, (list, tuple, set, range)) or not depths:
            raise GrowthError(
                f"`depths` are positive integers. Received: depths={depths!r}"
            )
        depths = sorted({check_count("depths", depth) for depth in depths})
        self.depths = depths
        self.seed = check_seed(seed)
        self._functions = {}
        self._key = f"sub models {depths} {steps} {seed}"

    @property
    def taken(self):
        """How many steps it has seen; kept in `model.callback_state`, so that
        a run that was killed goes on with the depths that come next."""
        # Not `self.model`, for which JAX writes back its state each time.
        return self._model.callback_state.get(self._key, 0)

    def trained(self, depth):
        """How many blocks train where `depth` are run."""
        below = [d for d in self.depths if d < depth]
        return depth - max(below, default=0)

    def on_train_begin(self, logs=None):
        network = self.model.network
        blocks = getattr(network, "transformer_layers", None)
        if blocks is None or not hasattr(network, "sub_model"):
            raise GrowthError(
                "`SubModels` needs a network that runs a part of its blocks, "
                "as `GPT2` and `BERT` do. Received: "
                f"{type(network).__name__}"
            )
        if self.depths[-1] > len(blocks):
            raise GrowthError(
                f"The model has {len(blocks)} blocks. Received: "
                f"depths={self.depths}"
            )

    def on_train_batch_begin(self, batch, logs=None):
        taken = self.taken
        if taken > self.steps:
            return
        part = None
        if taken < self.steps:
            rng = np.random.default_rng([self.seed, taken])
            depth = int(rng.choice(self.depths))
            part = depth, self.trained(depth)
        self._model.callback_state[self._key] = taken + 1
        self._train(part)

    def on_train_end(self, logs=None):
        if self.model.network.sub_model is not None:
            self._train(None)
        self._functions.clear()

    def _train(self, part):
        """Makes the running `fit` take its next step with a part."""
        network = self.model.network
        network.sub_model = part
        key = id(network), part
        if key not in self._functions:
            if any(known != id(network) for known, _ in self._functions):
                self._functions.clear()  # it grew meanwhile
            self.model.make_train_function(force=True)
            self._functions[key] = self.model.train_function
        self.model.train_function = self._functions[key]
