"""Hard distillation: a teacher's decisions as a second set of labels.

DeiT has a head that learns from another network, most often a convolutional
one. Its targets are the teacher's decisions on the same augmented images that
the model gets. `TaughtDataset` adds them to the data; a loss for each output is
passed to `compile()`. As `fit()` trains the model itself, the model may grow
meanwhile, which a model inside `keras.distillation.Distiller` could not.
"""

import itertools

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError

CLASS, DISTILLATION = "class", "distillation"


class TaughtDataset(keras.utils.PyDataset):
    """Data with a teacher's decisions beside the labels, for `fit`.

    Batches become `(x, {"class": y, "distillation": decisions})`. The teacher
    is run in inference mode, once a batch, and is not trained.

    Args:
        data: `keras.utils.PyDataset` of batches `(x, y)`, such as
            `kgrow.datasets.images.digits()`, or a `tf.data.Dataset`, such as
            `kgrow.datasets.images.load()`, which is gone through again when it
            ends and of which Keras may look at two batches before it begins.
        teacher: compiled or plain `keras.Model` from such `x` to scores,
            logits or probabilities, of shape `(batch, classes)`.
        num_classes: optional int. With it decisions are rows of as many
            numbers, for a categorical loss; else they are numbers of classes.
        **kwargs: passed to `keras.utils.PyDataset`.

    Raises:
        GrowthError: `data` is neither; or, at the first batch, the teacher's
            scores have another shape.

    Example:

    >>> from kgrow.datasets.images import digits
    >>> teacher = keras.Sequential([keras.layers.Flatten(),
    ...     keras.layers.Dense(10)])
    >>> x, y = TaughtDataset(digits(4), teacher)[0]
    >>> y["class"].shape, y["distillation"].shape
    ((4,), (4,))

    With `kgrow.models.DeiT(..., logits="both")`, whose outputs have the same
    names, `HARD` holds the weights of the paper's Eq. 3;
    `model.set_training_options(logits="mean")` then answers with both heads::

        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adamw", {"class": loss, "distillation": loss},
            loss_weights=HARD)
        model.fit(TaughtDataset(train, teacher), steps_per_epoch=44,
            shuffle=False)

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2012.12877), Sec. 4, "Hard-
      label distillation".
    """

    def __init__(self, data, teacher, num_classes=None, **kwargs):
        super().__init__(**kwargs)
        self._is_indexed = isinstance(data, keras.utils.PyDataset)
        if not self._is_indexed and not hasattr(data, "element_spec"):
            raise GrowthError(
                "`data` is a `keras.utils.PyDataset` or a `tf.data.Dataset`. "
                f"Received: {type(data).__name__}"
            )
        self.data = data
        self.teacher = teacher
        self.num_classes = num_classes
        self._batches = None

    @property
    def num_batches(self):
        if self._is_indexed:
            return self.data.num_batches
        count = int(self.data.cardinality())
        return count if count >= 0 else None

    def __len__(self):
        if self.num_batches is None:
            raise TypeError("An endless `TaughtDataset` has no length.")
        return self.num_batches

    def __getitem__(self, index):
        x, y = self.data[index] if self._is_indexed else self._next()
        scores = np.asarray(self.teacher.predict_on_batch(x))
        if scores.ndim != 2 or len(scores) != len(y):
            raise GrowthError(
                "A teacher puts out scores of shape (batch, classes), here "
                f"({len(y)}, classes). Received: {scores.shape}"
            )
        decisions = scores.argmax(axis=-1).astype("int32")
        if self.num_classes is not None:
            decisions = np.eye(self.num_classes, dtype="float32")[decisions]
        return x, {CLASS: y, DISTILLATION: decisions}

    def _next(self):
        """The next batch of the stream; batches have no numbers there."""
        if self._batches is None:
            self._batches = itertools.chain.from_iterable(
                itertools.repeat(self.data)
            )
        x, y = next(self._batches)
        return np.asarray(x), np.asarray(y)


# The weights of both losses.
HARD = {CLASS: 0.5, DISTILLATION: 0.5}
