"""Tokens to train on: windows of real text, as batches of static shape.

A source is named in one string:

- `stdlib`: the source of Python's standard library, as bytes; no download.
- `tfds:NAME@SPLIT`: a data set of TensorFlow Datasets with a feature `text`,
  such as `tfds:wikipedia/20230601.en@train[:99%]`.
- `text:GLOB`: files of text, a document a line, `gs://` too.
- `tfrecord:GLOB`: records with a feature `tokens`, integers that are used as
  they are.

Documents are put one behind the other, with a token between two, and cut into
windows. The order depends on the seed alone, and batch `i` is the same in a
run that was broken off and goes on from there: what was seen is read again and
skipped. Each host reads its own part of the documents.
"""

import dataclasses

import keras

from common import masking
from kgrow.algebra.errors import GrowthError
from kgrow.datasets.text.masked_corpus import MASK, MaskedByteDataset
from kgrow.datasets.text.stdlib_corpus import VOCABULARY_SIZE, ByteDataset

KINDS = ("stdlib", "tfds:", "text:", "tfrecord:")
_NEWLINE = 10
_SHUFFLED = 10_000


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is made of a window.

    Args:
        masked: bool: some tokens are to be found; else the next ones.
        rate: float, the share of tokens that is to be found.
    """

    masked: bool = False
    rate: float = 0.15

    def batch(self, batch_size, length):
        """The shapes of a batch, `(inputs, targets)` of `KerasTensor`s."""
        tokens = keras.KerasTensor((batch_size, length), "int32")
        if not self.masked:
            return tokens, tokens
        count = masking.predictions(length, self.rate)
        places = keras.KerasTensor((batch_size, count), "int32")
        return {"token_ids": tokens, "masked_positions": places}, places


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer makes of text.

    Args:
        size: int, how many tokens there are.
        tokenize: function of a string tensor that gives a ragged tensor of
            ids, or `None` where there are ids already.
        between: int, the token between two documents.
        mask: int or `None`, the token that hides.
        first: int or `None`, the token that begins a window.
        last: int or `None`, the one that ends it.
    """

    size: int
    tokenize: object = None
    between: int = _NEWLINE
    mask: int | None = None
    first: int | None = None
    last: int | None = None


def vocabulary(name):
    """The vocabulary of a tokenizer.

    Args:
        name: `"bytes"`, or a preset of KerasHub, by name or folder.

    Raises:
        GrowthError: there is no such tokenizer.
    """
    if name == "bytes":
        return Vocabulary(VOCABULARY_SIZE + 1, _bytes, mask=MASK)
    import keras_hub

    try:
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(
            name, dtype="int32"
        )
    except Exception as error:
        raise GrowthError(
            "A tokenizer is 'bytes' or a preset of KerasHub. Received: "
            f"tokenizer={name!r}, {error}"
        ) from error
    return of_tokenizer(tokenizer)


def of_tokenizer(tokenizer):
    """The vocabulary of one of KerasHub's tokenizers."""

    def token(*names):
        found = (getattr(tokenizer, f"{n}_token_id", None) for n in names)
        return next((t for t in found if t is not None), None)

    between = token("end", "sep")
    return Vocabulary(
        size=tokenizer.vocabulary_size(),
        tokenize=tokenizer,
        between=0 if between is None else between,
        mask=token("mask"),
        first=token("cls"),
        last=token("sep"),
    )


def add_flags(parser):
    """Adds the flags of text."""
    parser.add_argument(
        "--tokenizer",
        help="bytes, or a preset of KerasHub, by name or folder; stdlib is "
        "bytes",
    )


def source(options, fields, objective, shard):
    """The source that the flags name.

    Raises:
        GrowthError: it cannot be read so, or the model knows fewer tokens
            than there are.
    """
    name = options.tokenizer
    if options.data == "stdlib":
        if name not in (None, "bytes"):
            raise GrowthError(
                "The standard library is read as bytes, and takes no other "
                f"tokenizer. Received: tokenizer={name!r}"
            )
        name = "bytes"
    if name is None:
        raise GrowthError(
            "Say how text becomes tokens: `--tokenizer`, bytes or a preset of "
            "KerasHub. Received: tokenizer=None"
        )
    tokens = vocabulary(name)
    if not objective.masked and name == "bytes":
        # Nothing is hidden, and so there is no token to hide behind.
        tokens = dataclasses.replace(tokens, size=VOCABULARY_SIZE, mask=None)
    if fields["vocabulary_size"] < tokens.size:
        raise GrowthError(
            f"The tokenizer has {tokens.size} tokens, and the model knows "
            f"fewer. Received: tokenizer={name!r}, "
            f"vocabulary_size={fields['vocabulary_size']}"
        )
    return TokenSource(
        options.data, tokens, objective, options.data_dir, options.seed, shard
    )


class TokenSource:
    """Windows of one source.

    Args:
        name: string, see above.
        tokens: `Vocabulary`.
        objective: `Objective`.
        data_dir: optional string, TFDS's folder.
        seed: int.
        shard: `(number, of how many)`, which part this host reads.

    Raises:
        GrowthError: there is no such source, or the vocabulary has no token
            to hide others behind.
    """

    def __init__(
        self, name, tokens, objective, data_dir=None, seed=0, shard=(0, 1)
    ):
        if not str(name).startswith(KINDS):
            raise GrowthError(
                "Data are one of stdlib, tfds:NAME@SPLIT, text:GLOB, "
                f"tfrecord:GLOB. Received: data={name!r}"
            )
        if objective.masked and tokens.mask is None:
            raise GrowthError(
                "A masked language model needs a token to hide others behind, "
                "and this tokenizer has none."
            )
        self.name = name
        self.tokens = tokens
        self.objective = objective
        self.data_dir = data_dir
        self.seed = seed
        self.shard = shard

    def batches(
        self, batch_size, length, training=True, first=0, steps=None, turn=0
    ):
        """Batches of this host's part.

        Args:
            batch_size: int, over all hosts.
            length: int, tokens in a window.
            training: bool; the other split, for `stdlib`.
            first: int, batches to skip.
            steps: optional int; without, training has no end.
            turn: int, added to the seed: another order.

        Returns:
            `keras.utils.PyDataset` or `tf.data.Dataset`.
        """
        if self.name == "stdlib":
            kind = MaskedByteDataset if self.objective.masked else ByteDataset
            more = (
                {"rate": self.objective.rate} if self.objective.masked else {}
            )
            data = kind(
                "train" if training else "validation",
                length,
                batch_size,
                steps,
                self.seed + turn,
                first,
                **more,
            )
            return Rows(data, batch_size, self.shard)
        return self._windows(batch_size, length, training, first, steps, turn)

    def _windows(self, batch_size, length, training, first, steps, turn):
        tf = _tensorflow()
        number, count = self.shard
        here, seed = batch_size // count, self.seed + turn
        tokens = self.tokens
        ends = self.objective.masked and tokens.first is not None
        body = length - 2 if ends else length
        cut = body if self.objective.masked else body + 1
        data = self._ids(tf, training, seed)
        data = data.unbatch().batch(cut, drop_remainder=True)
        if training:
            data = data.shuffle(_SHUFFLED, seed=seed + 1)
            data = data.repeat()
        data = data.batch(here, drop_remainder=True)
        data = data.enumerate().skip(first)

        def prepare(batch, windows):
            windows = tf.ensure_shape(tf.cast(windows, tf.int32), (here, cut))
            if not self.objective.masked:
                return windows[:, :-1], windows[:, 1:]
            if ends:
                windows = tf.pad(windows, [[0, 0], [1, 0]], constant_values=0)
                windows += tokens.first * tf.one_hot(0, body + 1, dtype="int32")
                windows = tf.pad(
                    windows, [[0, 0], [0, 1]], constant_values=tokens.last
                )
            return masking.masked(
                tf,
                windows,
                batch * count + number,
                seed,
                rate=self.objective.rate,
                mask=tokens.mask,
                vocabulary_size=tokens.size,
                fixed=int(ends),
            )

        data = data.map(prepare, tf.data.AUTOTUNE, deterministic=True)
        if steps is not None:
            data = data.take(steps)
        return data.prefetch(tf.data.AUTOTUNE)

    def _ids(self, tf, training, seed):
        """Ids of this host's documents, each with the token between two."""
        kind, _, rest = self.name.partition(":")
        between = tf.constant([self.tokens.between], tf.int32)
        if kind == "tfrecord":
            features = {"tokens": tf.io.RaggedFeature(tf.int64)}
            records = self._files(tf, rest, tf.data.TFRecordDataset)
            return records.map(
                lambda record: tf.concat(
                    [
                        tf.cast(
                            tf.io.parse_single_example(record, features)[
                                "tokens"
                            ],
                            tf.int32,
                        ),
                        between,
                    ],
                    axis=0,
                ),
                tf.data.AUTOTUNE,
                deterministic=True,
            )
        if kind == "text":
            texts = self._files(tf, rest, tf.data.TextLineDataset)
        else:
            texts = self._tfds(rest, training, seed)
        return texts.map(
            lambda text: tf.concat(
                [tf.cast(self.tokens.tokenize(text), tf.int32), between], axis=0
            ),
            tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _files(self, tf, pattern, reader):
        number, count = self.shard
        files = sorted(tf.io.gfile.glob(pattern))
        if not files:
            raise GrowthError(
                f"There is no file like it. Received: data={self.name!r}"
            )
        data = reader(files)
        # Where there are files enough, each is read by one host alone.
        if len(files) >= count:
            return reader(files[number::count])
        return data.shard(count, number)

    def _tfds(self, rest, training, seed):
        import tensorflow_datasets as tfds

        tf = _tensorflow()
        name, _, split = rest.partition("@")
        number, count = self.shard
        try:
            builder = tfds.builder(name, data_dir=self.data_dir)
            if "text" not in builder.info.features:
                raise GrowthError(
                    f"{name!r} has no feature `text`, but "
                    f"{list(builder.info.features)}"
                )
            data = builder.as_dataset(
                split=split or ("train" if training else "validation"),
                shuffle_files=False,
                read_config=tfds.ReadConfig(
                    interleave_cycle_length=1, try_autocache=False
                ),
            )
        except GrowthError:
            raise
        except Exception as error:
            raise GrowthError(
                "A data set of TFDS that has been prepared: "
                "tfds:NAME@SPLIT, with `--data-dir` where it is not in TFDS's "
                f"own folder. Received: data={self.name!r}, {error}"
            ) from error
        data = data.shard(count, number)
        return data.map(lambda example: example["text"], tf.data.AUTOTUNE)


class Rows(keras.utils.PyDataset):
    """One host's rows of every batch.

    Args:
        data: `keras.utils.PyDataset` of batches over all hosts.
        batch_size: int, over all hosts.
        shard: `(number, of how many)`.

    Example:

    >>> whole = ByteDataset("train", 8, batch_size=4)
    >>> Rows(whole, 4, (1, 2))[0][0].shape
    (2, 8)
    """

    def __init__(self, data, batch_size, shard):
        super().__init__()
        self.data = data
        number, count = shard
        size = batch_size // count
        self.rows = slice(number * size, (number + 1) * size)

    @property
    def num_batches(self):
        return self.data.num_batches

    def __getitem__(self, index):
        return keras.tree.map_structure(
            lambda a: a[self.rows], self.data[index]
        )


def _bytes(text):
    tf = _tensorflow()
    return tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)


def _tensorflow():
    import tensorflow as tf

    # The accelerators are JAX's.
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf
