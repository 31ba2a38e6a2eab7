"""Pre-trains BERT or RoBERTa as they grow, by masked language modelling.

    python tpu_scripts/train_bert.py \\
        --config tpu_scripts/configs/msg_bert_base.toml \\
        --tokenizer bert_base_en_uncased \\
        --data 'tfds:wikipedia/20230601.en@train[:99%]' \\
        --validation-data 'tfds:wikipedia/20230601.en@train[99%:]' \\
        --data-dir gs://BUCKET/tensorflow_datasets \\
        --checkpoints gs://BUCKET/bert/checkpoints \\
        --logs gs://BUCKET/bert/logs --mesh 8x1

The same command goes on where the last one was broken off, at the right stage.
`--dry-run` prints the plan, `--smoke` does all of it in miniature, on the CPU.

`--data` is as in `train_gpt2.py`. There is no prediction of the next sentence.
"""

import sys

import common  # noqa: F401
from common import pretraining, token_data


def add_flags(parser):
    token_data.add_flags(parser)
    parser.add_argument(
        "--mask-rate", type=float, default=0.15, help="tokens to be found"
    )


def objective(options):
    return token_data.Objective(masked=True, rate=options.mask_rate)


def source(options, fields, shard):
    return token_data.source(options, fields, objective(options), shard)


def batch(options, fields, batch_size, length):
    return objective(options).batch(batch_size, length)


PROGRAM = pretraining.Program(
    name="train_bert.py",
    families=("BERT", "RoBERTa"),
    add_flags=add_flags,
    source=source,
    batch=batch,
    compiled=pretraining.compile_language_model,
)


def main(arguments=None):
    return pretraining.main(PROGRAM, __doc__, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
