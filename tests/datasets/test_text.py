"""Any text: folders, TFDS by its own offline means, bytes and subwords."""

import functools
import math
import sys

import keras
import numpy as np
import pytest

from kgrow.algebra.errors import GrowthError
from kgrow.datasets.text import sources, stdlib_corpus
from kgrow.datasets.text.masked_corpus import MASK, MaskedByteDataset
from kgrow.datasets.text.random_windows import (
    MaskedWindowDataset,
    WindowDataset,
)
from kgrow.datasets.text.subword_tokenizer import Subwords
from kgrow.datasets.text.text import Text

pytestmark = pytest.mark.once

WORDS = "grow a small model until it is large, then train it on".split()


def prose(seed, words=400):
    """Lines of words, some of them outside ASCII."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice([*WORDS, "größer", "(x_1)", "42"], words)
    lines = (" ".join(chosen[i : i + 8]) for i in range(0, words, 8))
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "text"
    (folder / "below").mkdir(parents=True)
    for number in range(30):
        place = folder / "below" if number % 3 else folder
        (place / f"{number}.txt").write_bytes(prose(number))
    return folder


@functools.cache
def subwords(size=300):
    return Subwords.learned([prose(seed) for seed in range(5)], size)


@functools.cache
def standard():
    return Text()


# --- what it is by default ---------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_by_default_it_is_the_corpus_to_the_bit(masked):
    kind = MaskedByteDataset if masked else stdlib_corpus.ByteDataset
    text, fields = standard(), dict(seed=3, first=5)
    for split in sources.SPLITS:
        ours = text.dataset(split, 48, 4, masked=masked, **fields)
        for index in (0, 7):
            pairs = zip(
                keras.tree.flatten(ours[index]),
                keras.tree.flatten(kind(split, 48, 4, **fields)[index]),
                strict=True,
            )
            for a, b in pairs:
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
    assert text.fingerprint == stdlib_corpus.fingerprint()
    assert text.vocabulary_size == stdlib_corpus.VOCABULARY_SIZE == MASK


# --- windows -----------------------------------------------------------------


def test_hidden_tokens_are_those_of_the_text():
    text = np.arange(1000) % 50
    data = MaskedWindowDataset(text, 40, 64, vocabulary_size=50, rate=0.25)
    x, y = data[3]
    whole, _ = WindowDataset(text, 40, 64)[3]
    places, tokens = x["masked_positions"], x["token_ids"]
    assert places.shape == y.shape == (64, 10)
    assert (np.diff(places, axis=1) > 0).all()
    np.testing.assert_array_equal(y, np.take_along_axis(whole, places, 1))
    shown = np.take_along_axis(tokens, places, 1)
    # 640 draws: five standard deviations.
    assert abs((shown == data.mask).mean() - 0.8) < 5 * math.sqrt(0.16 / 640)
    assert ((shown < 50) | (shown == 50)).all() and (shown < 50).any()
    rest = np.ones_like(tokens, bool)
    np.put_along_axis(rest, places, False, 1)
    np.testing.assert_array_equal(tokens[rest], whole[rest])


@pytest.mark.parametrize("rate", [0, -0.1, 1.5])
def test_a_share_is_a_share(rate):
    with pytest.raises(GrowthError, match=f"Received: rate={rate}"):
        MaskedByteDataset("train", 8, 2, rate=rate)


# --- folders -----------------------------------------------------------------


def test_every_document_is_in_one_split(folder):
    (folder / ".hidden").write_bytes(b"not read")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_bytes(b"not read")
    found = sources.documents(folder)
    everything = sorted(found["train"] + found["validation"])
    assert everything == sorted(prose(number) for number in range(30))
    part = sum(map(len, found["validation"]))
    longest = max(map(len, everything))
    wanted = 0.05 * sum(map(len, everything))
    assert wanted <= part < wanted + longest


def test_equal_documents_are_on_one_side(folder):
    for number in range(30):
        (folder / f"again-{number}.txt").write_bytes(prose(number))
    found = sources.documents(folder)
    assert not set(found["train"]) & set(found["validation"])


def test_one_long_file_is_enough(tmp_path):
    whole = b"".join(prose(seed) for seed in range(120))
    (tmp_path / "book.txt").write_bytes(whole)
    found = sources.documents(tmp_path)
    assert found["train"] and found["validation"]
    parts = found["train"] + found["validation"]
    assert len(parts) == len({*parts}) >= 4
    assert max(map(len, parts)) <= 2**16
    assert sum(map(len, parts)) == len(whole)
    assert all(part.endswith(b"\n") and part in whole for part in parts)


def test_a_line_without_end_is_cut_all_the_same():
    parts = sources._parts(b"x" * (2**17 + 5))
    assert [len(part) for part in parts] == [2**16, 2**16, 5]


def test_fingerprints_are_of_the_text_and_not_of_its_place(folder, tmp_path):
    first = Text(folder).fingerprint
    folder = folder.rename(tmp_path / "elsewhere")
    assert Text(folder).fingerprint == first
    (folder / "0.txt").write_bytes(prose(0)[:-1])
    assert Text(folder).fingerprint != first


def test_what_is_no_text_is_refused(folder, tmp_path):
    with pytest.raises(GrowthError, match="no such folder.*'nowhere'"):
        Text("nowhere").tokens("train")
    with pytest.raises(GrowthError, match="two documents.* with 1"):
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "short.txt").write_bytes(b"short\n")
        Text(tmp_path / "one").tokens("train")
    with pytest.raises(GrowthError, match="data_dir='x'"):
        Text(folder, data_dir="x").tokens("train")
    (folder / "below" / "picture.png").write_bytes(b"\x89PNG\0")
    with pytest.raises(GrowthError, match="picture.png has zero bytes"):
        Text(folder).tokens("train")


def test_unknown_splits_are_refused(folder):
    with pytest.raises(GrowthError, match="Received: split='test'"):
        Text(folder).tokens("test")


# --- TFDS --------------------------------------------------------------------


@pytest.fixture
def tfds():
    pytest.importorskip("tensorflow")
    return pytest.importorskip("tensorflow_datasets")


def _imitated(tfds, texts):
    """TFDS as it would be with these texts prepared."""
    import tensorflow as tf

    def as_dataset(self, *args, **kwargs):
        asked.append(kwargs["split"])
        return tf.data.Dataset.from_tensor_slices({"text": texts})

    asked = []
    mocked = tfds.testing.mock_data(as_dataset_fn=as_dataset)
    return mocked, asked


def test_texts_of_tfds_by_name(tfds, tmp_path):
    texts = [prose(seed, 40) for seed in range(20)]
    mocked, asked = _imitated(tfds, texts)
    with mocked:
        found = sources.documents("tfds:lm1b", str(tmp_path))
        sources.documents("tfds:lm1b@test[:10%]", str(tmp_path))
    assert asked == ["train", "test[:10%]"]
    everything = found["train"] + found["validation"]
    assert sorted(everything) == sorted(text + b"\n" for text in texts)
    assert found["train"] and found["validation"]


def test_tfds_imitates_texts_itself(tfds, tmp_path):
    with tfds.testing.mock_data(num_examples=8):
        text = Text("tfds:imdb_reviews", data_dir=str(tmp_path))
        x, y = text.dataset("train", 8, batch_size=2)[0]
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])


def test_sets_without_text_are_refused(tfds, tmp_path):
    with pytest.raises(GrowthError, match="text.*'image', 'label'"):
        sources.documents("tfds:mnist", str(tmp_path))
    with pytest.raises(GrowthError, match="no such data set"):
        sources.documents("tfds:no_such_set", str(tmp_path))
    with pytest.raises(GrowthError, match="not prepared"):
        sources.documents("tfds:lm1b", str(tmp_path))


# --- subwords ----------------------------------------------------------------


def test_every_byte_comes_back():
    """Text, text in other encodings, and what is no text at all."""
    rng = np.random.default_rng(0)
    for document in (
        prose(99),
        "größer\r\n\t∑ 日本".encode(),
        "größer".encode("latin-1"),
        rng.integers(0, 256, 5000, dtype="uint8").tobytes(),
        b"",
    ):
        ids = subwords().encode([document])
        assert subwords().decode(ids) == document
        assert subwords().lengths[ids].sum() == len(document)


def test_subwords_are_as_many_as_asked_and_fewer_in_the_text():
    found = subwords()
    assert found.vocabulary_size == len(found.lengths) == 300
    documents = [prose(seed) for seed in range(5)]
    ids = found.encode(documents)
    assert ids.dtype == np.uint16 and ids.max() < 300
    assert len(ids) < 0.6 * sum(map(len, documents))
    # The bytes themselves come first.
    assert (found.lengths[:256] == 1).all() and found.lengths[256:].min() > 1


def test_the_same_text_gives_the_same_subwords():
    again = Subwords.learned([prose(seed) for seed in range(5)], 300)
    document = prose(7)
    np.testing.assert_array_equal(
        again.encode([document]), subwords().encode([document])
    )
    assert again._bytes == subwords()._bytes


def test_words_are_not_merged_across():
    text = [b"to be or\nnot to be, 12 times; " * 50]
    found = Subwords.learned(text, 270)
    for token in found._bytes[256:]:
        assert not token[1:].strip() or b" " not in token[1:], token


def test_subwords_are_learned_from_the_beginning(monkeypatch):
    monkeypatch.setattr(
        "kgrow.datasets.text.subword_tokenizer._LEARNED_FROM", 100
    )
    short = Subwords.learned([b"aaaa bbbb " * 10, b"cdcdcd " * 500], 258)
    assert not any(b"cd" in token for token in short._bytes)


@pytest.mark.parametrize(
    "tokenizer, vocabulary, match",
    [
        ("words", None, "one of bytes, subwords.*'words'"),
        ("bytes", 300, "Received: tokenizer='bytes', vocabulary=300"),
        ("subwords", None, "Received: tokenizer='subwords', vocabulary=None"),
    ],
)
def test_tokenizers_that_are_none(tokenizer, vocabulary, match):
    with pytest.raises(GrowthError, match=match):
        Text(tokenizer=tokenizer, vocabulary=vocabulary)


def test_too_few_and_too_many_subwords_are_refused():
    with pytest.raises(GrowthError, match="Received: vocabulary=255"):
        Subwords.learned([b"text"], 255)
    with pytest.raises(GrowthError, match="it has 260.*vocabulary=300"):
        Subwords.learned([b"text text"], 300)


# --- subwords of a text, kept ------------------------------------------------


def test_subwords_are_learned_once_and_kept(folder, tmp_path, monkeypatch):
    kept = tmp_path / "run"
    first = Text(folder, "subwords", 300, kept)
    train, test = first.tokens("train"), first.tokens("validation")
    names = sorted(path.name for path in kept.iterdir())
    mark = f"300-{first.fingerprint}"
    assert names == [
        f"subwords-{mark}.json",
        f"tokens-train-{mark}.npy",
        f"tokens-validation-{mark}.npy",
    ]
    without = Text(folder, "subwords", 300)
    np.testing.assert_array_equal(without.tokens("train"), train)

    def never(*args):
        raise AssertionError("made again")

    monkeypatch.setattr(Subwords, "learned", never)
    monkeypatch.setattr(Subwords, "encode", never)
    second = Text(folder, "subwords", 300, kept)
    np.testing.assert_array_equal(second.tokens("train"), train)
    np.testing.assert_array_equal(second.tokens("validation"), test)
    assert second.decode(test) == b"".join(first.documents["validation"])
    with pytest.raises(AssertionError, match="made again"):
        Text(folder, "subwords", 301, kept).tokens("train")
    (folder / "0.txt").write_bytes(b"another text\n")
    with pytest.raises(AssertionError, match="made again"):
        Text(folder, "subwords", 300, kept).tokens("train")


def test_nothing_is_kept_of_what_is_broken_off(folder, tmp_path, monkeypatch):
    def broken(found, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("kgrow.datasets.text.text._save_array", broken)
    text = Text(folder, "subwords", 300, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        text.tokens("train")
    names = [path.suffix for path in (tmp_path / "run").iterdir()]
    assert names == [".json"]


@pytest.mark.parametrize("suffix", ["json", "npy"])
def test_what_was_kept_and_spoilt_is_not_read(folder, tmp_path, suffix):
    Text(folder, "subwords", 300, tmp_path / "run").tokens("train")
    for path in (tmp_path / "run").glob(f"*.{suffix}"):
        path.write_bytes(b"spoilt")
    with pytest.raises(GrowthError, match="remove it"):
        text = Text(folder, "subwords", 300, tmp_path / "run")
        text.encode(b"text")
        text.tokens("train")


def test_the_mask_is_behind_the_subwords(folder):
    text = Text(folder, "subwords", 300)
    x, y = text.dataset("train", 32, 8, masked=True)[0]
    assert x["token_ids"].max() == 300 == text.vocabulary_size
    assert y.max() < 300


# --- what is not installed ---------------------------------------------------


@pytest.mark.parametrize(
    "library, text, tokenizer, size",
    [
        ("tokenizers", "stdlib", "subwords", 300),
        ("tensorflow_datasets", "tfds:lm1b", "bytes", None),
    ],
)
def test_what_is_missing_is_named(library, text, tokenizer, size, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    text = Text(text, tokenizer, size)
    if text.text == "stdlib":
        text.documents = standard().documents
    with pytest.raises(ImportError, match="pip install"):
        text.tokens("train")


# --- bits a byte -------------------------------------------------------------


@pytest.mark.parametrize("tokenizer, size", [("bytes", 256), ("subwords", 300)])
def test_bits_a_byte_count_the_bytes_of_the_targets(folder, tokenizer, size):
    text = Text(folder, tokenizer, size if tokenizer == "subwords" else None)
    data = text.dataset("validation", 24, 4, steps=3)
    targets = np.concatenate([data[index][1] for index in range(3)])
    length = sum(len(text.decode(row)) for row in targets)
    # A model that knows nothing gives every token the same probability.
    bits = targets.size * math.log2(size)
    found = text.bits_per_byte(math.log(size), data)
    assert found == pytest.approx(bits / length, rel=1e-12)


def test_bits_a_byte_are_those_of_the_whole_text():
    text = standard()
    with pytest.raises(GrowthError, match="steps=None"):
        text.bits_per_byte(1.0, text.dataset("validation", 8, 2))
    hidden = text.dataset("validation", 8, 2, steps=2, masked=True)
    with pytest.raises(GrowthError, match="MaskedWindowDataset"):
        text.bits_per_byte(1.0, hidden)
