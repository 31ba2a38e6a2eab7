"""Fine-tunes an encoder on SQuAD, and evaluates it.

    python tpu_scripts/finetune_squad.py \\
        --encoder gs://BUCKET/bert/checkpoints \\
        --tokenizer bert_base_en_uncased \\
        --data-dir gs://BUCKET/tensorflow_datasets \\
        --sequence-length 384 --learning-rate 3e-5 --epochs 2

`--encoder` is a preset of KerasHub, the folder of checkpoints of a run that
grew, or a `.keras` file. `--data` is TFDS's `squad` or `squad/v2.0`. The
metrics are exact match and F1, in per cent.
"""

import sys

import common  # noqa: F401
from common import (
    encoders,
    finetuning,
    glue,
    settings,
    smoke_finetuning,
    squad,
    squad_metrics,
)

from kgrow.algebra.errors import GrowthError

NAME = "finetune_squad.py"


def make_parser():
    made = finetuning.parser(__doc__, NAME)
    made.add_argument(
        "--stride",
        type=settings.count(1),
        default=128,
        help="tokens from one window of a passage to the next",
    )
    made.set_defaults(data="squad", sequence_length=384, epochs=2)
    return made


def run(options):
    """Fine-tunes, and gives exact match and F1."""
    finetuning.begin(options)
    if options.data.partition("/")[0] != "squad":
        raise GrowthError(
            f"Data are squad or squad/v2.0. Received: data={options.data!r}"
        )
    encoder = encoders.load(options.encoder, options.tokenizer, options.dropout)
    pieces = squad.Pieces(encoder.tokenizer)
    frame = squad.Frame.of(encoder)

    def prepared(split):
        rows = glue.read_tfds(options.data, split, options.data_dir)
        examples, truths = squad.examples(rows[: options.limit])
        made = [
            window
            for example in examples
            for window in squad.windows(
                example if split == "train" else {**example, "answers": []},
                pieces,
                options.sequence_length,
                options.stride,
                frame,
            )
        ]
        return examples, truths, made

    examples, _, found = prepared("train")
    if options.dry_run:
        finetuning.plan(NAME, encoder, len(found), options)
        return {"dry_run": True}
    lost = len(examples) - len({window.key for window in found})
    model = squad.span_model(encoder)
    x, y = squad.arrays(found, frame, options.sequence_length)
    loss = {name: glue.loss(glue.Task(())) for name in ("start", "end")}
    history = finetuning.train(model, loss, x, y, options)
    examples, truths, found = prepared("validation")
    x, _ = squad.arrays(found, frame, options.sequence_length)
    outputs = finetuning.predict(model, x, options)
    answers = squad.answers(
        found, outputs, examples, may_have_none=not all(truths.values())
    )
    result = {
        "data": options.data,
        "growths": len(encoder.history),
        "losses": history.history["loss"],
        "left_out": lost,
        **squad_metrics.score(answers, truths),
    }
    finetuning.write(options, result)
    return result


def main(arguments=None):
    made = make_parser()
    try:
        options = settings.read(made, arguments)
        if options.smoke:
            return smoke_finetuning.squad(run, options)
        return run(options)
    except GrowthError as error:
        made.exit(2, f"{NAME}: {error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
