"""GLUE: its tasks, their data from TFDS, a head of KerasHub, predictions."""

import dataclasses

import keras
import numpy as np

from common import glue_metrics
from kgrow.algebra.errors import GrowthError


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of GLUE.

    Args:
        features: names of the one or two texts.
        metrics: names of functions of `glue_metrics`.
        classes: int; 1 for a number.
        splits: names of the splits that are evaluated.
    """

    features: tuple
    metrics: tuple = ("accuracy",)
    classes: int = 2
    splits: tuple = ("validation",)


TASKS = {
    "cola": Task(("sentence",), ("matthews",)),
    "sst2": Task(("sentence",)),
    "mrpc": Task(("sentence1", "sentence2"), ("accuracy", "f1")),
    "qqp": Task(("question1", "question2"), ("accuracy", "f1")),
    "stsb": Task(("sentence1", "sentence2"), ("pearson", "spearman"), 1),
    "mnli": Task(
        ("premise", "hypothesis"),
        classes=3,
        splits=("validation_matched", "validation_mismatched"),
    ),
    "qnli": Task(("question", "sentence")),
    "rte": Task(("sentence1", "sentence2")),
    "wnli": Task(("sentence1", "sentence2")),
}


def get(name):
    """A task by its name, as in `"mrpc"` or `"glue/mrpc"`.

    Raises:
        GrowthError: there is no such task.

    Example:

    >>> get("glue/mrpc").metrics
    ('accuracy', 'f1')
    """
    key = str(name).lower().removeprefix("glue/")
    if key not in TASKS:
        raise GrowthError(
            f"There is no such task. Received: task={name!r}. There are: "
            f"{', '.join(TASKS)}"
        )
    return TASKS[key]


def examples(name, split, data_dir=None):
    """The texts and labels of a split.

    Args:
        name: string, a task.
        split: string.
        data_dir: optional string, TFDS's folder.

    Returns:
        `(texts, labels)`: a tuple of one or two lists of strings, and an
        array.

    Raises:
        GrowthError: the data set has not been prepared.
    """
    task = get(name)
    rows = read_tfds(f"glue/{name.removeprefix('glue/')}", split, data_dir)
    texts = tuple(
        [row[feature].decode() for row in rows] for feature in task.features
    )
    kind = "float32" if task.classes == 1 else "int32"
    return texts, np.array([row["label"] for row in rows], kind)


def read_tfds(name, split, data_dir=None):
    """The examples of a data set, as a list of dicts of numpy values.

    Raises:
        GrowthError: the data set has not been prepared.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        data = builder.as_dataset(split=split, shuffle_files=False)
        return list(tfds.as_numpy(data))
    except Exception as error:
        raise GrowthError(
            f"`{name}` has to have been prepared by TFDS: `tfds build {name}`, "
            "with `--data-dir` where it is not in its own folder. Received: "
            f"split={split!r}, {error}"
        ) from error


def classifier(encoder, task):
    """KerasHub's classifier around an encoder, without its preprocessor.

    Args:
        encoder: `Encoder`.
        task: `Task`.
    """
    import keras_hub

    kind = getattr(keras_hub.models, f"{encoder.kind}TextClassifier")
    made = kind(backbone=encoder.backbone, num_classes=task.classes)
    # A task preprocesses whatever it is given; this is given what is ready.
    return keras.Model(made.input, made.output, name="glue")


def features(encoder, texts, length):
    """What the classifier takes: arrays of shape `(examples, length)`."""
    import keras_hub

    kind = getattr(
        keras_hub.models, f"{encoder.kind}TextClassifierPreprocessor"
    )
    prepare = kind(tokenizer=encoder.tokenizer, sequence_length=length)
    made = prepare(texts if len(texts) > 1 else texts[0])
    return {key: np.asarray(value) for key, value in made.items()}


def loss(task):
    """The loss of a task."""
    if task.classes == 1:
        return keras.losses.MeanSquaredError()
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def scores(task, labels, outputs):
    """The metrics of a task.

    Args:
        task: `Task`.
        labels: array.
        outputs: array of shape `(examples, classes)`, the classifier's.

    Returns:
        dict from names to numbers.
    """
    outputs = np.asarray(outputs, "float64")
    found = outputs[:, 0] if task.classes == 1 else outputs.argmax(axis=-1)
    return {
        name: getattr(glue_metrics, name)(labels, found)
        for name in task.metrics
    }
