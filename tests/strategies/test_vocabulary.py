"""What new tokens start as, and what they leave as it was."""

import json

import keras
import numpy as np
import pytest
from helpers.toy import (
    array,
    make_inputs,
    make_model,
    relative_difference,
    values_of,
)

from kgrow import GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.strategies import Vocabulary

pytestmark = pytest.mark.compiles

OLD, NEW = 11, 15
PIECES = {11: [0, 3], 12: [5], 13: [1, 2, 9], 14: [10, 10]}
FAMILIES = ["GPT2", "BERT", "RoBERTa", "Llama", "Llama-tied"]
EVERY = pytest.mark.parametrize("family", FAMILIES)
RULES = pytest.mark.parametrize("new", ["mean", "gaussian", "compose", "fresh"])
ROUNDING = tolerance("float64", 64, 16)


def make(family, **options):
    family, _, tied = family.partition("-")
    if tied:
        options["tie_embeddings"] = True
    return make_model(family, **options)


def rule(new, rest="net2net", pieces=PIECES):
    return Vocabulary(new, pieces if new == "compose" else None, rest)


def tables(model):
    """What has the vocabulary as an axis, with it in front."""
    found = {}
    for path, variable in model.architecture.spec.variables.items():
        dims = [d for axis in variable.axes for d in (axis.dims or (None,))]
        if "vocab" in dims:
            value = values_of(model)[path]
            found[path] = np.moveaxis(value, dims.index("vocab"), 0)
    return found


def old_inputs(model):
    return make_inputs(model) % OLD


def logits(model, x):
    return array(model(x)).astype("float64")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.sample
@RULES
@EVERY
def test_old_tokens_keep_their_logits_and_new_ones_have_a_rule(
    float64, family, new
):
    model = make(family, dtype="float64")
    x, before = old_inputs(model), tables(model)
    outputs = logits(model, x)
    receipt = model.grow({"vocabulary_size": NEW}, rule(new), seed=0)
    after = tables(model)
    assert receipt.exact
    assert receipt.claims["vocab"].startswith("exact: old tokens")
    assert relative_difference(logits(model, x)[..., :OLD], outputs) <= ROUNDING
    expected = 1 + (family not in ("GPT2", "Llama-tied"))
    assert list(after) == list(before) and len(after) == expected
    for path, table in after.items():
        np.testing.assert_array_equal(table[:OLD], before[path])
        if new == "mean":
            means = np.broadcast_to(before[path].mean(0), table[OLD:].shape)
            np.testing.assert_allclose(table[OLD:], means, atol=1e-12)
        elif new == "compose":
            for token, pieces in PIECES.items():
                mean = before[path][pieces].mean(0)
                np.testing.assert_allclose(table[token], mean, atol=1e-12)
        elif path != "mlm_bias/bias":
            assert len(np.unique(table, axis=0)) == NEW


@EVERY
def test_the_mean_takes_no_more_than_its_share_of_the_softmax(float64, family):
    model = make(family, dtype="float64")
    x = old_inputs(model)
    before = softmax(logits(model, x))
    model.grow({"vocabulary_size": NEW}, Vocabulary("mean"), seed=0)
    after = logits(model, x)
    means = after[..., :OLD].mean(-1, keepdims=True)
    np.testing.assert_allclose(
        after[..., OLD:], np.broadcast_to(means, after[..., OLD:].shape), 1e-9
    )
    ratio = before / softmax(after)[..., :OLD]
    assert ratio.max() <= 1 + (NEW - OLD) / OLD + 1e-12
    assert ratio.min() >= 1


@pytest.mark.sample
@pytest.mark.compiles
@RULES
@EVERY
@pytest.mark.parametrize("rest", ["lemon", "hypercloning", "msg"])
def test_the_width_may_grow_at_the_same_time(float64, family, new, rest):
    model = make(family, dtype="float64")
    x = old_inputs(model)
    before = logits(model, x)
    target = {"vocabulary_size": NEW, "hidden_dim": 16}
    if rest != "hypercloning":
        target["num_layers"] = 3
    receipt = model.grow(target, rule(new, rest), seed=0)
    assert receipt.exact
    within = 1e-3 if family in ("BERT", "RoBERTa") else 0
    after = logits(model, x)[..., :OLD]
    assert relative_difference(after, before) <= ROUNDING + within
    for table in tables(model).values():
        if new == "mean":
            means = np.broadcast_to(table[:OLD].mean(0), table[OLD:].shape)
            np.testing.assert_allclose(table[OLD:], means, atol=1e-12)
        elif new == "compose":
            np.testing.assert_allclose(
                table[11], table[[0, 3]].mean(0), atol=1e-12
            )


def test_the_gaussian_is_that_of_the_old_rows():
    model = make("GPT2", vocabulary_size=40, hidden_dim=4)
    (before,) = tables(model).values()
    model.grow({"vocabulary_size": 6000}, Vocabulary("gaussian"), seed=3)
    (after,) = tables(model).values()
    drawn = after[40:]
    np.testing.assert_allclose(drawn.mean(0), before.mean(0), atol=0.05)
    wanted = np.cov(before.T, bias=True)
    np.testing.assert_allclose(np.cov(drawn.T), wanted, atol=0.06)


def test_the_same_seed_draws_the_same_rows():
    found = []
    for seed in (1, 1, 2):
        model = make("Llama")
        model.grow({"vocabulary_size": NEW}, Vocabulary("gaussian"), seed=seed)
        found.append(tables(model))
    for path, table in found[0].items():
        np.testing.assert_array_equal(table, found[1][path])
        assert np.abs(table[OLD:] - found[2][path][OLD:]).max() > 0.01
    one, other = (table[OLD:] for table in found[0].values())
    assert np.abs(one - other).max() > 0.01


@pytest.mark.compiles
@EVERY
def test_moments_of_new_tokens_start_as_those_of_any_entry(family):
    """Whatever the rule, the optimizer's state is the same."""
    slots = []
    for strategy in (Vocabulary("mean"), Vocabulary("fresh"), "net2net"):
        keras.utils.set_random_seed(1)
        model = make(family)
        model.compile(
            "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        x = old_inputs(model)
        model.fit(x, x, verbose=0)
        model.grow({"vocabulary_size": NEW}, strategy, seed=0)
        slots.append([array(v) for v in model.optimizer.variables])
        y = np.full_like(x, NEW - 1)
        model.fit(x, y, verbose=0)
    for one, *others in zip(*slots, strict=True):
        for other in others:
            np.testing.assert_allclose(other, one, atol=1e-6)


def test_new_tokens_alone_can_train():
    model = make("GPT2")
    model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    (before,) = tables(model).values()
    x = old_inputs(model)
    model.grow({"vocabulary_size": NEW}, Vocabulary("mean"), trainable="new")
    model.fit(x, np.full_like(x, NEW - 1), verbose=0)
    (after,) = tables(model).values()
    np.testing.assert_array_equal(after[:OLD], before)
    assert np.abs(after[-1] - before.mean(0)).max() > 1e-4


def test_a_vocabulary_that_does_not_grow_is_left_alone():
    one, other = make("GPT2"), make("GPT2")
    one.grow({"hidden_dim": 16}, Vocabulary("mean"), seed=0)
    other.grow({"hidden_dim": 16}, "net2net", seed=0)
    for path, value in values_of(one).items():
        np.testing.assert_array_equal(value, values_of(other)[path])


def test_rules_of_several_tables_go_together():
    model = make("GPT2")
    rest = strategies.Positions("copy", "lemon")
    target = {
        "vocabulary_size": NEW,
        "max_sequence_length": 10,
        "hidden_dim": 11,
    }
    assert model.grow(target, Vocabulary("mean", base=rest), seed=0).exact
    table = values_of(model)["position_embedding/embeddings"]
    np.testing.assert_array_equal(table[5:], table[:5])


@RULES
def test_it_is_made_again_from_its_config(new):
    strategy = rule(new, strategies.MSG(ramp=7))
    config = json.loads(json.dumps(strategies.serialize(strategy)))
    twin = strategies.get(config)
    assert twin == strategy and repr(twin) == repr(strategy)
    assert twin.pieces == strategy.pieces
    model = make("GPT2")
    assert model.grow({"vocabulary_size": NEW}, twin, seed=0).exact


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("median",), "Received: init='median'"),
        (("compose",), "needs them"),
        (("mean", {11: [0]}), "under no other rule"),
        (("compose", {11: []}), "at least one"),
        (("compose", {"a": [1]}), "must be a dict"),
        (("compose", 5), "must be a dict"),
        (("compose", {11: [0.5]}), "must be a dict"),
    ],
)
def test_rules_are_checked(arguments, message):
    with pytest.raises(GrowthError, match=message):
        Vocabulary(*arguments)


@pytest.mark.parametrize(
    "pieces, message",
    [
        ({11: [0]}, r"none of \[12\]"),
        ({11: [0], 12: [1], 13: [2]}, r"pieces of \[13\]"),
        ({11: [0], 12: [11]}, r"pieces of 12: \[11\]"),
        ({11: [0], 12: [-1]}, r"pieces of 12: \[-1\]"),
    ],
)
def test_pieces_are_those_of_all_new_tokens(pieces, message):
    model = make("GPT2")
    with pytest.raises(GrowthError, match=message):
        model.grow({"vocabulary_size": 13}, Vocabulary("compose", pieces))
    assert model.growth_config["vocabulary_size"] == OLD


def test_there_has_to_be_a_vocabulary():
    with pytest.raises(GrowthError, match="Received: dim='vocab'"):
        make("MLP").grow({"hidden_dim": 11}, Vocabulary())
    with pytest.raises(GrowthError, match="Received: dim='hidden'"):
        make("GPT2").grow({"hidden_dim": 11}, Vocabulary(dim="hidden"))
