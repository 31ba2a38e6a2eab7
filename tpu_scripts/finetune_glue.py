"""Fine-tunes an encoder on a task of GLUE, and evaluates it.

    python tpu_scripts/finetune_glue.py --task mrpc \\
        --encoder gs://BUCKET/bert/checkpoints \\
        --tokenizer bert_base_en_uncased \\
        --data-dir gs://BUCKET/tensorflow_datasets --epochs 5

`--encoder` is a preset of KerasHub, the folder of checkpoints of a run that
grew, or a `.keras` file; the head is KerasHub's. `--task` is one of cola, sst2,
mrpc, qqp, stsb, mnli, qnli, rte, wnli. The metrics are those of the benchmark:
Matthews' correlation, accuracy and F1, Pearson's and Spearman's.
"""

import sys

import common  # noqa: F401
from common import encoders, finetuning, glue, settings, smoke_finetuning

from kgrow.algebra.errors import GrowthError

NAME = "finetune_glue.py"


def make_parser():
    made = finetuning.parser(__doc__, NAME)
    made.add_argument("--task", help=f"one of {', '.join(glue.TASKS)}")
    return made


def run(options):
    """Fine-tunes, and gives the scores of each split."""
    finetuning.begin(options)
    task = glue.get(options.task)
    encoder = encoders.load(options.encoder, options.tokenizer, options.dropout)
    texts, labels = _examples(options, "train")
    if options.dry_run:
        finetuning.plan(NAME, encoder, len(labels), options)
        return {"dry_run": True}
    model = glue.classifier(encoder, task)
    length = options.sequence_length
    x = glue.features(encoder, texts, length)
    history = finetuning.train(model, glue.loss(task), x, labels, options)
    result = {
        "task": options.task,
        "growths": len(encoder.history),
        "losses": history.history["loss"],
    }
    for split in task.splits:
        texts, labels = _examples(options, split)
        outputs = finetuning.predict(
            model, glue.features(encoder, texts, length), options
        )
        result[split] = glue.scores(task, labels, outputs)
    finetuning.write(options, result)
    return result


def _examples(options, split):
    texts, labels = glue.examples(options.task, split, options.data_dir)
    limit = options.limit
    return tuple(part[:limit] for part in texts), labels[:limit]


def main(arguments=None):
    made = make_parser()
    try:
        options = settings.read(made, arguments)
        if options.smoke:
            return smoke_finetuning.glue(run, options)
        return run(options)
    except GrowthError as error:
        made.exit(2, f"{NAME}: {error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
