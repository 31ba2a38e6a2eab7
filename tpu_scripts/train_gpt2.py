"""Pre-trains GPT-2 as it grows.

    python tpu_scripts/train_gpt2.py \\
        --config tpu_scripts/configs/msg_gpt2.toml \\
        --tokenizer gpt2_base_en \\
        --data 'tfds:wikipedia/20230601.en@train[:99%]' \\
        --validation-data 'tfds:wikipedia/20230601.en@train[99%:]' \\
        --data-dir gs://BUCKET/tensorflow_datasets \\
        --checkpoints gs://BUCKET/gpt2/checkpoints \\
        --logs gs://BUCKET/gpt2/logs --mesh 8x1

The same command goes on where the last one was broken off, at the right stage.
`--dry-run` prints the plan, `--smoke` does all of it in miniature, on the CPU.

`--data` is one of `stdlib` (bytes, no download), `tfds:NAME@SPLIT`,
`text:GLOB` and `tfrecord:GLOB`; see `common/token_data.py`.
"""

import sys

import common  # noqa: F401
from common import pretraining, token_data

OBJECTIVE = token_data.Objective()


def add_flags(parser):
    token_data.add_flags(parser)


def source(options, fields, shard):
    return token_data.source(options, fields, OBJECTIVE, shard)


def batch(options, fields, batch_size, length):
    return OBJECTIVE.batch(batch_size, length)


PROGRAM = pretraining.Program(
    name="train_gpt2.py",
    families=("GPT2",),
    add_flags=add_flags,
    source=source,
    batch=batch,
    compiled=pretraining.compile_language_model,
)


def main(arguments=None):
    return pretraining.main(PROGRAM, __doc__, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
