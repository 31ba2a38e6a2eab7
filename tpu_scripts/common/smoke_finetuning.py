"""The programs that fine-tune in miniature: a small BERT that grew, made-up
examples in the place of TFDS's, eight simulated devices."""

import pathlib
import tempfile
import time

import keras
import numpy as np

import kgrow
from common import checkpoints, devices, smoke

WORDS = (
    "a the this that film book song day night was is good bad fine poor what "
    "colour has cat dog bird house tree red green blue yellow black white . ?"
).split()
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIZES = dict(
    num_layers=1,
    num_heads=2,
    hidden_dim=16,
    intermediate_dim=32,
    max_sequence_length=32,
)


def glue(run, options):
    """Runs `finetune_glue.py` on sentences whose label is a word of theirs."""
    options.task = options.task or "sst2"
    rng = np.random.default_rng(0)

    def example(number):
        label = number % 2
        words = ["this", str(rng.choice(["film", "book", "song"])), "was"]
        words.append(
            str(rng.choice([["bad", "poor"], ["good", "fine"]][label]))
        )
        return {"idx": number, "label": label, "sentence": " ".join(words)}

    return _run(
        run,
        options,
        example,
        lambda result: {
            "it is right more often than by chance": (
                result["validation"]["accuracy"] > 0.75
            )
        },
        sequence_length=16,
        encoder="checkpoints",
    )


def squad(run, options):
    """Runs `finetune_squad.py` on passages that name colours."""
    rng = np.random.default_rng(0)
    colours = ["red", "green", "blue", "yellow", "black", "white"]

    def example(number):
        colour = str(rng.choice(colours))
        thing = str(rng.choice(["cat", "dog", "bird"]))
        context = f"the {thing} is {colour} ."
        return {
            "id": str(number),
            "title": "",
            "question": f"what colour has the {thing} ?",
            "context": context,
            "answers": {
                "text": [colour],
                "answer_start": [context.index(colour)],
            },
        }

    return _run(
        run,
        options,
        example,
        lambda result: {
            "it finds more than a few answers": result["f1"] > 50,
            "no example was left out": result["left_out"] == 0,
        },
        sequence_length=24,
        encoder="grown.keras",
    )


def _run(run, options, example, more, sequence_length, encoder):
    """Grows a small BERT, and fine-tunes it."""
    import tensorflow_datasets as tfds

    start = time.perf_counter()
    for name, value in {
        "simulate_devices": 8,
        "mesh": (8, 1),
        "sequence_length": sequence_length,
        "batch_size": 32,
        "epochs": 8,
        "learning_rate": 1e-2,
        "dropout": 0.0,
    }.items():
        setattr(options, name, value)
    devices.start(options)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        options.tokenizer = str(folder / "vocabulary.txt")
        pathlib.Path(options.tokenizer).write_text(
            "\n".join([*SPECIAL, *WORDS]) + "\n"
        )
        options.encoder = str(folder / encoder)
        grown_encoder(options.encoder)
        with tfds.testing.mock_data(as_dataset_fn=_dataset(tfds, example)):
            result = run(options)
    checks = {
        "the encoder had grown": result["growths"] == 1,
        "the loss fell": result["losses"][-1] < 0.7 * result["losses"][0],
        **more(result),
    }
    seconds = time.perf_counter() - start
    return {**result, "smoke": smoke.verdict(checks, seconds)}


def grown_encoder(path):
    """Writes a small BERT that has grown: a file, or a run's checkpoints."""
    size = len(SPECIAL) + len(WORDS)
    model = kgrow.models.BERT(vocabulary_size=size, dropout=0.0, **SIZES)
    target = {"hidden_dim": 32, "intermediate_dim": 64, "num_heads": 4}
    model.grow(target, "net2net", seed=0)
    if path.endswith(".keras"):
        model.save(path)
    else:
        model.compile("adamw", "mse")
        checkpoints.build_slots(model)
        writer = checkpoints.OrbaxCheckpoints(path, every=1, keep=1)
        writer.set_model(model)
        writer.write()
        writer.close()
    del model
    keras.utils.clear_session(free_memory=False)


def _dataset(tfds, example):
    """What `mock_data` gives in place of a split: 256 examples."""

    def as_dataset(self, split, **options):
        import tensorflow as tf

        del split, options
        examples = [example(number) for number in range(256)]
        return tf.data.Dataset.from_generator(
            lambda: iter(examples),
            output_signature=self.info.features.get_tensor_spec(),
        ).map(lambda row: row)

    return as_dataset
