"""How DeiT is trained: its augmentation from Keras' layers, its optimizer.

Every operation on images is a layer of Keras, and runs eagerly or inside
`tf.data`, on every backend. Keras' defaults differ from DeiT's settings in
several places, and the arguments given here say what is meant:

- `RandAugment` hands one factor to all of its operations, by which 0.9 turns
  an image by up to 324 degrees. `DeiTRandAugment` gives each its own range.
- `RandomErasing(0.25)` erases with a probability drawn from 0 to 0.25, and
  `CutMix(1.0)` draws the parameter of its beta distribution from 0 to 1. Pairs
  of equal numbers keep both where they are.
- `RandomCrop` and `RandAugment` treat all images of a batch alike, and so are
  applied image by image.

Repeated augmentation, several versions of an image in one batch, does not
exist in Keras and is left out.
"""

import keras
import numpy as np
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import DynamicBackend, in_tf_graph
from kgrow.datasets.images.tfds_images import IMAGENET
from kgrow.layers import argument_checks

# Strength of each operation at magnitude 10, as in DeiT's code.
_SHEAR = 0.3
_TRANSLATION = 0.45
_TURN = 30 / 360
_CHANGE = 0.9
_BITS = 4
# Larger images are cut out of the original before, see `images.load()`.
_SMALL = 32
_PADDING = 4

# Table 9 of the paper; the last two rates are those of its code.
LEARNING_RATE = 5e-4
BASE_BATCH = 512
WARMUP_EPOCHS = 5
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
STOCHASTIC_DEPTH = 0.1
FIRST_RATE = 1e-6
LAST_RATE = 1e-5

# Gains, shifts, biases, tokens and positions are not decayed.
_NOT_DECAYED = ["^(bias|beta|gamma|scale|token|position|embeddings)$"]


def deit_augmentation(
    num_classes,
    image_size,
    *,
    value_range=(0, 255),
    mean=IMAGENET[0],
    std=IMAGENET[1],
    padding="auto",
    flip=True,
    rand_augment=9,
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    seed=0,
):
    """DeiT's augmentation: crop, flip, RandAugment, erasing, MixUp or CutMix.

    Labels become rows that sum to one. They are not smoothed here, as the loss
    of `deit_recipe()` does that, to the same effect.

    Args:
        num_classes: int, number of classes.
        image_size: int, height and width of images, before and after.
        value_range: pair of numbers, the lowest and the highest value of the
            images that come in.
        mean: numbers, of the channels, of values from 0 to 1.
        std: numbers, standard deviations, the same.
        padding: int, pixels by which images are padded before a random crop;
            0 for none. `"auto"` is 4 for images of at most 32 pixels, and 0
            for larger ones, of which a random part has been cut before.
        flip: bool, whether half of the images are mirrored.
        rand_augment: number from 0 to 10, the magnitude; 0 for none.
        erasing: float in `[0, 1]`, how often a rectangle becomes noise.
        mixup: float, the parameter of MixUp's beta distribution; 0 for none.
        cutmix: float in `[0, 1]`, that of CutMix; 0 for none. With both, a
            coin decides for each batch.
        seed: int.

    Returns:
        `DeiTAugmentation`, for `kgrow.datasets.images.load(augmentation=...)`,
        for an `ImageDataset`, or to be applied by hand.

    Raises:
        GrowthError: a number is out of its range.

    Example:

    >>> augment = deit_augmentation(10, 8, rand_augment=0, seed=1)
    >>> images, labels = augment(np.full((4, 8, 8, 3), 128.0), np.eye(10)[:4])
    >>> images.shape, labels.sum(axis=-1).round(5).tolist()
    ((4, 8, 8, 3), [1.0, 1.0, 1.0, 1.0])

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2012.12877), Table 9. Images
      are mixed with a share of their own each, where DeiT's code has one for
      the batch.
    """
    for name, value, high in (
        ("rand_augment", rand_augment, 10),
        ("erasing", erasing, 1),
        ("mixup", mixup, np.inf),
        ("cutmix", cutmix, 1),
    ):
        if not 0 <= value <= high:
            raise GrowthError(
                f"`{name}` must be a number from 0 to {high}. "
                f"Received: {name}={value!r}"
            )
    if padding == "auto":
        padding = _PADDING if image_size <= _SMALL else 0
    if not isinstance(padding, int) or padding < 0:
        raise GrowthError(
            "`padding` must be 'auto' or an integer of at least 0. "
            f"Received: padding={padding!r}"
        )
    # A stream of random numbers for each layer.
    seeds = np.random.SeedSequence(seed).generate_state(5) >> 1
    crop, turn, rand, erase, mix = (int(s) for s in seeds)
    layers = keras.layers
    steps = []
    if padding:
        steps.append(layers.RandomCrop(image_size, image_size, seed=crop))
    if flip:
        steps.append(layers.RandomFlip("horizontal", seed=turn))
    if rand_augment:
        steps.append(DeiTRandAugment(value_range, rand_augment, seed=rand))
    eraser = mixer = None
    if erasing:
        # Of normalised images, and so noise of variance one. Keras takes the
        # upper end of the range for its scale, and clips it to the range.
        eraser = layers.RandomErasing(
            (erasing, erasing),
            scale=(0.02, 1 / 3),
            value_range=(-1.0, 1.0),
            seed=erase,
        )
    if mixup or cutmix:
        mixer = MixUpOrCutMix(mixup, cutmix, seed=mix)
    return DeiTAugmentation(
        num_classes,
        padding,
        steps,
        (value_range, mean, std),
        eraser,
        mixer,
        seed,
    )


class DeiTAugmentation:
    """An augmentation, image by image and then batch by batch.

    Made by `deit_augmentation()`.

    Args:
        num_classes: int, number of classes.
        padding: int, pixels around an image before the first layer.
        steps: list of layers for an image that is not normalised.
        scaling: values' range, and means and deviations of the channels.
        eraser: layer for a normalised image, or `None`.
        mixer: layer for a batch, or `None`.
        seed: int.
    """

    def __init__(
        self, num_classes, padding, steps, scaling, eraser, mixer, seed
    ):
        self.num_classes = num_classes
        self.padding = padding
        self.steps = steps
        self.scaling = scaling
        self.eraser = eraser
        self.mixer = mixer
        self.seed = seed

    @property
    def layers(self):
        """list of the layers, in their order."""
        return [*self.steps, *filter(None, (self.eraser, self.mixer))]

    def image(self, image):
        """Augments and normalises one image.

        Args:
            image: tensor of shape `(height, width, channels)`, not normalised;
                TensorFlow's inside `tf.data`.

        Returns:
            `float32` tensor of shape `(image_size, image_size, channels)`.
        """
        backend = DynamicBackend()
        if in_tf_graph():
            backend.set_backend("tensorflow")
        image = backend.cast(image, "float32")
        channels = image.shape[-1]
        (low, high), mean, std = self.scaling
        mean, std = (np.asarray(s, "float32") for s in (mean, std))
        if channels == 1:
            # Some layers mix colours. Grey stays grey.
            image = backend.numpy.repeat(image, 3, axis=-1)
            mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
        if self.padding:
            pad = ((self.padding, self.padding),) * 2 + ((0, 0),)
            image = backend.numpy.pad(image, pad, constant_values=low)
        for layer in self.steps:
            image = layer(image, training=True)
        image = (image[..., :channels] - low) / (high - low)
        image = image - backend.convert_to_tensor(mean)
        image = image / backend.convert_to_tensor(std)
        if self.eraser is not None:
            image = self.eraser(image, training=True)
        return image

    def mix(self, images, labels):
        """Mixes the images of a batch, and their labels with them.

        Args:
            images: tensor of shape `(batch, height, width, channels)`.
            labels: tensor of shape `(batch, num_classes)`, rows that sum to
                one.

        Returns:
            Both, mixed.

        Raises:
            GrowthError: labels have another shape.
        """
        if len(labels.shape) != 2 or labels.shape[-1] != self.num_classes:
            raise GrowthError(
                f"Labels are rows of {self.num_classes} numbers, as "
                "`one_hot=True` gives them. Received: labels of shape "
                f"{tuple(labels.shape)}"
            )
        if self.mixer is None:
            return images, labels
        batch = {"images": images, "labels": labels}
        batch = self.mixer(batch, training=True)
        return batch["images"], batch["labels"]

    def __call__(self, images, labels, number=None):
        """Augments a batch at once, outside of `tf.data`.

        Image by image, which is slow: for more than a few thousand images use
        `apply()` or `kgrow.datasets.images.load()`.

        Args:
            images: array of shape `(batch, height, width, channels)`, not
                normalised.
            labels: array of shape `(batch, num_classes)`.
            number: optional int. With it the result depends on the seed and
                on this number alone, else on the calls before.

        Returns:
            Two `float32` numpy arrays.
        """
        if number is not None:
            for place, layer in enumerate(self.layers):
                sequence = np.random.SeedSequence((self.seed, number, place))
                state = layer.generator.state
                key = sequence.generate_state(2) >> 1
                state.assign(key.astype(state.dtype))
        images = ops.convert_to_tensor(images, "float32")
        images = ops.stack([self.image(image) for image in images])
        labels = ops.convert_to_tensor(labels, "float32")
        images, labels = self.mix(images, labels)
        return ops.convert_to_numpy(images), ops.convert_to_numpy(labels)

    def apply(self, dataset, batch_size, deterministic=True):
        """Augments a `tf.data.Dataset` of single images with their labels.

        Args:
            dataset: of pairs, an image of known shape, not normalised, and a
                row of `num_classes` numbers.
            batch_size: int. What does not fill a batch is left out.
            deterministic: bool, whether one thread draws all random numbers,
                so that the seed decides them; else as many as there are cores.

        Returns:
            `tf.data.Dataset` of batches.
        """
        threads = None if deterministic else -1  # `tf.data.AUTOTUNE`
        dataset = dataset.map(lambda x, y: (self.image(x), y), threads)
        dataset = dataset.batch(batch_size, drop_remainder=True)
        return dataset.map(self.mix, threads)


@keras.saving.register_keras_serializable("kgrow")
class DeiTRandAugment(keras.layers.RandAugment):
    """Keras' `RandAugment`, each operation with DeiT's range.

    Ranges are drawn from evenly, on both sides where there are two; DeiT draws
    a sign, and adds a little noise to the magnitude. Keras' operations have no
    inversion, take colour away and never add any, and make an image brighter
    by a sum and not by a product.

    Args:
        value_range: pair of numbers, the lowest and the highest value.
        magnitude: number from 0 to 10.
        num_ops: int, operations that are drawn for an image.
        rate: float in `[0, 1]`, how often one that is drawn is applied.
        seed: optional int.
        **kwargs: of `keras.layers.RandAugment`.

    Example:

    >>> layer = DeiTRandAugment(magnitude=9)
    >>> round(360 * layer.random_rotation.factor[1])
    27

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2012.12877), Table 9, "Rand
      Augment 9/0.5"; what a magnitude means is that of its code, and so is the
      rate.
    """

    def __init__(
        self,
        value_range=(0, 255),
        magnitude=9,
        num_ops=2,
        rate=0.5,
        seed=None,
        **kwargs,
    ):
        share = magnitude / 10
        super().__init__(value_range, num_ops, share, seed=seed, **kwargs)
        self.magnitude = magnitude
        self.rate = rate
        layers = keras.layers
        order = {"data_format": self.data_format}
        values = {**order, "value_range": value_range}
        filled = {
            **order,
            "fill_mode": "constant",
            "fill_value": sum(value_range) / 2,
        }
        shear, move = share * _SHEAR, share * _TRANSLATION
        change = share * _CHANGE
        self.random_shear = layers.RandomShear(shear, shear, **filled)
        self.random_translation = layers.RandomTranslation(move, move, **filled)
        self.random_rotation = layers.RandomRotation(share * _TURN, **filled)
        self.random_color_degeneration = layers.RandomColorDegeneration(
            (0.0, change), **values
        )
        # Half of the range is added where the mean brightness would double.
        self.random_brightness = _Brightness(change / 2, **values)
        # Pairs, as a single number only ever adds contrast.
        self.random_contrast = layers.RandomContrast((change, change), **values)
        # One half leaves the image as it is.
        self.random_sharpness = layers.RandomSharpness(
            (0.5 - change / 2, 0.5 + change / 2), **values
        )
        bits = max(1, _BITS - int(share * _BITS))
        self.random_posterization = layers.RandomPosterization(
            (bits, bits), **values
        )
        self.solarization = layers.Solarization(
            threshold_factor=1 - share, **values
        )
        # All change backends together, inside `tf.data` and back again.
        for name in self._AUGMENT_LAYERS:
            getattr(self, name).backend = self.backend

    def get_random_transformation(self, data, training=True, seed=None):
        found = super().get_random_transformation(data, training, seed)
        if found is None:
            return None
        generator = self._get_seed_generator(self.backend._backend)
        drawn = self.backend.random.uniform((self.num_ops,), seed=generator)
        # No operation has the number -1.
        found["layer_idxes"] = self.backend.numpy.where(
            drawn < self.rate, found["layer_idxes"], -1
        )
        return found

    def get_config(self):
        config = super().get_config()
        del config["factor"]
        return {**config, "magnitude": self.magnitude, "rate": self.rate}


class _Brightness(keras.layers.RandomBrightness):
    """Keras' layer, which on torch adds to its very input, and so to the image
    of a `RandAugment` that drew something else."""

    def transform_images(self, images, transformation, training=True):
        return super().transform_images(images + 0, transformation, training)


@keras.saving.register_keras_serializable("kgrow")
class MixUpOrCutMix(keras.layers.MixUp):
    """Keras' `MixUp` or its `CutMix`, one of the two for a whole batch.

    Args:
        mixup: float, the parameter of MixUp's beta distribution; 0 for none.
        cutmix: float, that of CutMix; 0 for none.
        rate: float in `[0, 1]`, how often it is CutMix, where there are both.
        seed: optional int.
        **kwargs: of `keras.layers.MixUp`.

    Example:

    >>> layer = MixUpOrCutMix(seed=0)
    >>> batch = {"images": np.ones((2, 4, 4, 3)), "labels": np.eye(2)}
    >>> layer(batch, training=True)["labels"].shape == (2, 2)
    True
    """

    def __init__(self, mixup=0.8, cutmix=1.0, rate=0.5, seed=None, **kwargs):
        kwargs.pop("alpha", None)  # As a saved config has it.
        super().__init__(alpha=mixup or 1.0, seed=seed, **kwargs)
        self.mixup = mixup
        self.cutmix = cutmix
        self.rate = rate
        self.cut = keras.layers.CutMix(
            (cutmix, cutmix), seed=seed, data_format=self.data_format
        )
        self.cut.backend = self.backend

    def build(self, input_shape=None):
        self.cut.built = True

    def get_random_transformation(self, data, training=True, seed=None):
        if not training:
            return None
        if seed is None:
            seed = self._get_seed_generator(self.backend._backend)
        rate = self.rate if self.mixup and self.cutmix else bool(self.cutmix)
        coin = self.backend.random.uniform((), seed=seed)
        return {
            "is_cut": coin < rate,
            "mix": super().get_random_transformation(data, True, seed),
            "cut": self.cut.get_random_transformation(data, True, seed),
        }

    def transform_images(self, images, transformation=None, training=True):
        if not training:
            return images
        return self.backend.numpy.where(
            transformation["is_cut"],
            self.cut.transform_images(images, transformation["cut"]),
            super().transform_images(images, transformation["mix"]),
        )

    def transform_labels(self, labels, transformation, training=True):
        if not training:
            return labels
        return self.backend.numpy.where(
            transformation["is_cut"],
            self.cut.transform_labels(labels, transformation["cut"]),
            super().transform_labels(labels, transformation["mix"]),
        )

    def get_config(self):
        config = super().get_config()
        return {
            **config,
            "mixup": self.mixup,
            "cutmix": self.cutmix,
            "rate": self.rate,
        }


def deit_recipe(batch_size, steps_per_epoch, epochs=300):
    """DeiT's optimizer, schedule, loss and model arguments.

    AdamW at `5e-4 * batch_size / 512`, reached in five epochs and taken down
    along a cosine until the last step; weight decay 0.05, not of biases,
    norms, tokens and positions; labels smoothed by 0.1.

    Args:
        batch_size: int, images in a batch.
        steps_per_epoch: int, batches in an epoch.
        epochs: int, more than the five of the warmup.

    Returns:
        dict of `"compile"`, arguments of `model.compile()`, and
        `"training_options"`, those of `model.set_training_options()`:
        stochastic depth of 0.1, no dropout.

    Raises:
        GrowthError: a number is no integer, or is too small.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.ViT(image_size=8, patch_size=4, num_layers=2,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=16, num_classes=10)
    >>> recipe = deit_recipe(batch_size=256, steps_per_epoch=10, epochs=20)
    >>> model.set_training_options(**recipe["training_options"])
    >>> model.compile(**recipe["compile"])
    >>> model.training_options["layer_drop"], model.optimizer.weight_decay
    (0.1, 0.05)

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2012.12877), Table 9; where
      the rate begins and ends is that of its code, which decays to 1e-5. Ten
      epochs at that rate, which the code appends, are left out.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("steps_per_epoch", steps_per_epoch, 1),
        ("epochs", epochs, WARMUP_EPOCHS + 1),
    ):
        argument_checks.integer(name, value, least)
    rate = LEARNING_RATE * batch_size / BASE_BATCH
    schedule = keras.optimizers.schedules.CosineDecay(
        FIRST_RATE,
        (epochs - WARMUP_EPOCHS) * steps_per_epoch,
        alpha=min(1.0, LAST_RATE / rate),
        warmup_target=rate,
        warmup_steps=WARMUP_EPOCHS * steps_per_epoch,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=WEIGHT_DECAY, epsilon=1e-8
    )
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return {
        "compile": {
            "optimizer": optimizer,
            "loss": keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=LABEL_SMOOTHING
            ),
            "metrics": ["accuracy"],
        },
        "training_options": {"layer_drop": STOCHASTIC_DEPTH, "dropout": 0.0},
    }
