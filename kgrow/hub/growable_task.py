"""A task of KerasHub that can be made larger while it trains."""

import sys

import keras

from kgrow import backend
from kgrow.algebra.deserialization import check_names
from kgrow.algebra.errors import GrowthError
from kgrow.growth.growable_model import GrowableModel, register_kind
from kgrow.hub.preprocessing import Batches, apply, preprocessed


@keras.saving.register_keras_serializable("kgrow")
class GrowableTask(GrowableModel):
    """Wraps a task, such as `keras_hub.models.GPT2CausalLM`.

    `kgrow.GrowableModel(task)` makes one. The backbone grows, with the head
    behind it; the preprocessor stays what it is. As a task does, it
    preprocesses what `fit()`, `evaluate()` and `predict()` are given, texts
    or images, and takes what `compile()` is not given from its own defaults.
    What the task was compiled with is taken over, its optimizer with all
    state, and trains through this model from then on.

    The task as it is now is `network`: `network.save_to_preset()` writes it
    down.

    Args:
        network: a `keras_hub.models.Task`.
        axes: optional `AxisMap`, or the rules for one.
        name: optional string.

    Raises:
        GrowthError: see `GrowableModel`.

    Example:

    >>> import kgrow, keras_hub, numpy as np
    >>> backbone = keras_hub.models.ViTBackbone(image_shape=(4, 4, 3),
    ...     patch_size=2, num_layers=1, num_heads=2, hidden_dim=4, mlp_dim=6)
    >>> task = keras_hub.models.ViTImageClassifier(backbone, num_classes=3)
    >>> model = kgrow.GrowableModel(task)
    >>> x, y = np.zeros((4, 4, 4, 3), "float32"), np.zeros(4, "int32")
    >>> _ = model.fit(x, y, verbose=0)
    >>> model.grow({"num_layers": 2, "mlp_dim": 8}).exact
    True
    >>> model.backbone.num_layers
    2
    """

    _own_training = (
        "compile",
        "fit",
        "evaluate",
        "predict",
        "train_on_batch",
        "test_on_batch",
        "predict_on_batch",
    )

    def __init__(self, network, axes=None, name=None, **kwargs):
        super().__init__(network, axes, name=name, **kwargs)
        if getattr(self.network, "compiled", False):
            self._take_over()

    @property
    def backbone(self):
        """The backbone that the task has now."""
        return self.network.backbone

    @property
    def preprocessor(self):
        """The task's preprocessor; a growth does not change it."""
        return self.network.preprocessor

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """Converts raw samples to inputs of the network."""
        return self.network.preprocess_samples(x, y, sample_weight)

    def compile(self, *args, **kwargs):
        """Compiles as the task does.

        Args:
            *args: of the task's `compile()`, which has defaults for
                optimizer, loss and metrics.
            **kwargs: the same; a `sampler` is for `generate()`.
        """
        self.network.compile(*args, **kwargs)
        scaling = ("auto_scale_loss",)
        self._take_over(**{k: kwargs[k] for k in scaling if k in kwargs})

    def _take_over(self, **options):
        task = self.network
        settings = dict(task._compile_config.config)
        # It may be wrapped by now, for mixed precision.
        settings["optimizer"] = task.optimizer
        super().compile(**settings, **options)
        task.optimizer = None

    def get_config(self):
        config = super().get_config()
        # The task is compiled through this model, with this model's settings.
        config["network"].pop("compile_config", None)
        return config

    def get_compile_config(self):
        config = super().get_compile_config()
        sampler = getattr(self.network, "sampler", None)
        if config and sampler is not None:
            config["sampler"] = keras.saving.serialize_keras_object(sampler)
        return config

    def compile_from_config(self, config):
        check_names(config)
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def _install(self, architecture):
        sampler = getattr(self.network, "sampler", None)
        super()._install(architecture)
        task = self.network
        if self.compiled and not task.compiled:
            # To generate, not to train: that is done here.
            options = {} if sampler is None else {"sampler": sampler}
            task.compile(optimizer=None, loss=None, **options)

    def generate(self, *args, **kwargs):
        """Calls the task's `generate()`.

        Raises:
            GrowthError: the task does not generate.
        """
        if not hasattr(self.network, "generate"):
            raise GrowthError(
                "The task has nothing to generate. Received: "
                f"{type(self.network).__name__}"
            )
        backend.sync(self)
        return self.network.generate(*args, **kwargs)

    def grow(self, target_config, strategy="net2net", *, data=None, **options):
        if data is not None:
            data = preprocessed(self.preprocess_samples, *_parts(data))
        probe = options.get("probe")
        if probe is not None:
            made = self.preprocess_samples(probe)
            probe, *_ = keras.utils.unpack_x_y_sample_weight(made)
            options["probe"] = probe
        return super().grow(target_config, strategy, data=data, **options)

    grow.__doc__ = GrowableModel.grow.__doc__

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        sample_weight=None,
        **kwargs,
    ):
        if validation_split and validation_data is None:
            whole = Batches(x, y, sample_weight, batch_size)
            (x, y, sample_weight), validation_data = _split(
                whole, validation_split
            )
        if validation_data is not None:
            parts = _parts(validation_data)
            size = batch_size if isinstance(validation_data, tuple) else None
            validation_data = preprocessed(
                self.preprocess_samples, *parts, batch_size=size
            )
        return super().fit(
            preprocessed(
                self.preprocess_samples, x, y, sample_weight, batch_size
            ),
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation_data,
            **kwargs,
        )

    def evaluate(
        self, x=None, y=None, batch_size=None, sample_weight=None, **kwargs
    ):
        # Validation data of `fit` are preprocessed already.
        if not kwargs.get("_use_cached_eval_dataset", False):
            x = preprocessed(
                self.preprocess_samples, x, y, sample_weight, batch_size
            )
            y = batch_size = sample_weight = None
        return super().evaluate(
            x, y, batch_size, sample_weight=sample_weight, **kwargs
        )

    def predict(self, x, batch_size=None, **kwargs):
        x = preprocessed(self.preprocess_samples, x, batch_size=batch_size)
        return super().predict(x, **kwargs)

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        return super().train_on_batch(
            *self._batch(x, y, sample_weight), **kwargs
        )

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        return super().test_on_batch(
            *self._batch(x, y, sample_weight), **kwargs
        )

    def predict_on_batch(self, x):
        return super().predict_on_batch(self._batch(x)[0])

    def _batch(self, x, y=None, sample_weight=None):
        return apply(self.preprocess_samples, (x, y, sample_weight))


def _parts(data):
    return data if isinstance(data, tuple) else (data,)


def _split(batches, part):
    """The rows before the last part of them, and those."""
    place = int(batches.length * (1.0 - part))
    if not 0 < place < batches.length:
        raise GrowthError(
            "Both parts of the data must have samples. Received: "
            f"{batches.length} samples, validation_split={part}"
        )
    return (
        batches.rows(0, place).parts,
        batches.rows(place, batches.length).parts,
    )


def is_task(network):
    """Whether it is a task of KerasHub; without importing KerasHub for it."""
    module = sys.modules.get("keras_hub")
    return module is not None and isinstance(network, module.models.Task)


register_kind(is_task, GrowableTask)
