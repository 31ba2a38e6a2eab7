"""Another tokenizer's vocabulary: each row from where the receipt says."""

import json

import numpy as np
import pytest
from helpers.hf_folders import read_arrays, write_llama

from kgrow import GrowthError, hf
from kgrow.algebra.errors import FileError
from kgrow.hf.token_rows import text_of

tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.once

OLD = ["[UNK]", "a", "b", "c", "ab", "<s>"]
# Shared, shared, of pieces, without any, shared.
NEW = ["ab", "a", "bc", "z", "<s>"]
ALONG = ["model.embed_tokens.weight", "lm_head.weight"]


def write_tokenizer(folder, tokens):
    vocab = {token: number for number, token in enumerate(tokens)}
    merges = [m for m in (("a", "b"), ("b", "c")) if "".join(m) in vocab]
    merges = [m for m in merges if all(part in vocab for part in m)]
    model = tokenizers.models.BPE(vocab, merges, unk_token=tokens[0])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(["<s>"])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def folders(tmp_path):
    """The small model's folder, its arrays, and that of a tokenizer."""
    arrays = write_llama(tmp_path / "small", vocab_size=6, bos_token_id=5)
    write_tokenizer(tmp_path / "small", OLD)
    write_tokenizer(tmp_path / "other", NEW)
    (tmp_path / "other" / "tokenizer_config.json").write_text('{"new": true}')
    return tmp_path, arrays


def changed(tmp_path):
    receipt = hf.change_vocabulary(
        tmp_path / "small", tmp_path / "other", tmp_path / "out"
    )
    return receipt, hf.open_checkpoint(tmp_path / "out")


def test_rows_are_kept_or_composed_and_all_else_is_copied(folders):
    tmp_path, before = folders
    receipt, checkpoint = changed(tmp_path)
    after = read_arrays(checkpoint)
    assert list(after) == list(before)
    for name, old in before.items():
        if name not in ALONG:
            np.testing.assert_array_equal(after[name], old)
            continue
        new = after[name]
        np.testing.assert_array_equal(new[[0, 1, 4]], old[[4, 1, 5]])
        np.testing.assert_allclose(new[2], old[[2, 3]].mean(0), rtol=1e-6)
        np.testing.assert_allclose(new[3], old.mean(0), rtol=1e-5)
    assert receipt.tensors == ALONG and not receipt.exact
    counts = receipt.shared, receipt.composed, receipt.nearest, receipt.mean
    assert counts == (3, 1, 0, 1)
    assert "rows from pieces: 1" in str(receipt)


def test_the_tokenizer_and_its_numbers_come_along(folders):
    tmp_path, _ = folders
    _, checkpoint = changed(tmp_path)
    assert checkpoint.config["vocab_size"] == 5
    assert checkpoint.config["bos_token_id"] == 4
    assert "generation_config.json" not in checkpoint.carried
    for name in ("tokenizer.json", "tokenizer_config.json"):
        written = (tmp_path / "out" / name).read_bytes()
        assert written == (tmp_path / "other" / name).read_bytes()
    data = json.loads((tmp_path / "out" / "kgrow_receipt.json").read_text())
    assert data["shared"] == 3


def test_a_token_without_pieces_takes_the_nearest_shared_row(folders):
    """By the embeddings of the model beside the new tokenizer."""
    tmp_path, before = folders
    (tmp_path / "other").rename(tmp_path / "files")
    theirs = write_llama(tmp_path / "other", vocab_size=5, seed=1)
    for path in (tmp_path / "files").iterdir():
        path.rename(tmp_path / "other" / path.name)
    receipt, checkpoint = changed(tmp_path)
    rows = theirs[ALONG[0]].astype("float64")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    best = max((0, 1, 4), key=lambda n: unit[n] @ unit[3])
    old = {0: 4, 1: 1, 4: 5}[best]
    assert receipt.nearest == 1 and receipt.mean == 0
    for name in ALONG:
        new = read_arrays(checkpoint)[name]
        np.testing.assert_array_equal(new[3], before[name][old])


def test_a_tied_head_and_bfloat16_keep_shared_rows_to_the_bit(tmp_path):
    before = write_llama(tmp_path / "small", "BF16", vocab_size=6)
    write_tokenizer(tmp_path / "small", OLD)
    write_tokenizer(tmp_path / "other", NEW)
    _, checkpoint = changed(tmp_path)
    new = checkpoint.tensors[ALONG[0]]
    assert new.dtype == "BF16"
    np.testing.assert_array_equal(new.read()[0], before[ALONG[0]][4])


def test_a_special_token_that_is_lost_is_told(folders):
    tmp_path, _ = folders
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    config["pad_token_id"] = 0
    (tmp_path / "small" / "config.json").write_text(json.dumps(config))
    receipt, checkpoint = changed(tmp_path)
    assert receipt.lost == ["pad_token_id"]
    assert checkpoint.config["pad_token_id"] is None
    assert "without a token now: pad_token_id" in str(receipt)


@pytest.mark.parametrize(
    "token, level, text",
    [("Ġthe", True, " the"), ("Ã©", True, "é"), ("▁the", False, " the")],
)
def test_tokens_of_both_notations_are_compared_as_text(token, level, text):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    if level:
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
    assert text_of(token, tokenizer) == text


def test_what_cannot_be_done_writes_nothing(folders):
    tmp_path, _ = folders
    with pytest.raises(FileError, match="there already"):
        hf.change_vocabulary(
            tmp_path / "small", tmp_path / "other", tmp_path / "other"
        )
    (tmp_path / "other" / "tokenizer.json").write_text("{}")
    with pytest.raises(FileError, match="is no tokenizer"):
        changed(tmp_path)
    (tmp_path / "other" / "tokenizer.json").unlink()
    with pytest.raises(FileError, match="has no 'tokenizer.json'"):
        changed(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_vocabulary_is_refused(folders, monkeypatch):
    tmp_path, _ = folders
    from kgrow.hf import new_vocabulary

    monkeypatch.setattr(new_vocabulary, "_VOCAB", "patches")
    with pytest.raises(GrowthError, match="no tensor along a vocabulary"):
        changed(tmp_path)
