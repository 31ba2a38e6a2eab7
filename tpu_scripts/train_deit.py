"""Trains a vision transformer on images as it grows, by DeiT's recipe.

    python tpu_scripts/train_deit.py \\
        --config tpu_scripts/configs/ligo_deit.toml \\
        --source gs://BUCKET/deit_small/latest.weights.h5 \\
        --data tfds:imagenet2012@train \\
        --validation-data tfds:imagenet2012@validation \\
        --data-dir gs://BUCKET/tensorflow_datasets \\
        --checkpoints gs://BUCKET/deit/checkpoints \\
        --logs gs://BUCKET/deit/logs --mesh 8x1

The same command goes on where the last one was broken off, at the right stage.
`--dry-run` prints the plan, `--smoke` does all of it in miniature, on the CPU.

`--data` is `digits` (no download) or `tfds:NAME@SPLIT`. Models of DeiT that are
trained without a teacher are plain ViTs, and so is what this trains.
"""

import sys

import common  # noqa: F401
import keras
from common import image_data, optimizing, pretraining


def add_flags(parser):
    add = parser.add_argument
    add("--augment", choices=image_data.AUGMENTATIONS, default="none")
    add("--label-smoothing", type=float, default=0.0)
    add(
        "--stochastic-depth",
        type=float,
        default=0.0,
        help="how often the last block is skipped in training",
    )


def source(options, fields, shard):
    return image_data.ImageSource(
        options.data,
        fields["image_size"],
        fields["num_channels"],
        options.augment,
        options.data_dir,
        options.seed,
        shard,
    )


def batch(options, fields, batch_size, length):
    size, channels = fields["image_size"], fields["num_channels"]
    return (
        keras.KerasTensor((batch_size, size, size, channels)),
        keras.KerasTensor((batch_size, fields["num_classes"])),
    )


def fields(options):
    return {"layer_drop": options.stochastic_depth}


def compiled(model, options, steps):
    model.compile(
        optimizing.optimizer(options, steps),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=options.label_smoothing
        ),
        metrics=["accuracy"],
    )


PROGRAM = pretraining.Program(
    name="train_deit.py",
    families=("ViT", "DeiT", "CaiT", "Swin"),
    add_flags=add_flags,
    source=source,
    batch=batch,
    fields=fields,
    compiled=compiled,
)


def main(arguments=None):
    return pretraining.main(PROGRAM, __doc__, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
