"""The programs for TPUs: flags, plans, metrics, and all of it in miniature."""

import argparse
import doctest
import functools
import importlib
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.paths import REPOSITORY

import kgrow
from kgrow.algebra.errors import GrowthError

ROOT = REPOSITORY
SCRIPTS = ROOT / "tpu_scripts"
CONFIGS = sorted((SCRIPTS / "configs").glob("*.toml"))
PROGRAMS = ("train_gpt2", "train_bert", "train_deit")

pytestmark = pytest.mark.once

# The programs run on JAX, and say so.
_skip = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="the programs run on JAX"
)


def on_jax(test):
    return pytest.mark.each(_skip(test))


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def module(name):
    return importlib.import_module(name)


def program_of(path):
    """The program that a configuration is for, as its command says."""
    paper = module("common.settings").load(str(path))["paper"]
    return pathlib.Path(paper["command"].split()[1]).stem


def options_of(name, arguments):
    pretraining = module("common.pretraining")
    program = module(name)
    parser = pretraining.parser(program.PROGRAM, program.__doc__)
    return program.PROGRAM, module("common.settings").read(parser, arguments)


def start(*arguments, **environment):
    """Runs a program in a process of its own."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done


MODULES = sorted(p.stem for p in (SCRIPTS / "common").glob("[a-z]*.py"))


@on_jax
@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    found = doctest.testmod(
        module(f"common.{name}"), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert not found.failed


def test_every_shared_file_is_listed():
    text = module("common").__doc__
    assert all(f"{name}.py" in text for name in MODULES)


# Flags and configuration files.


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_can_be_read_and_run(path):
    """Flags are known, the schedule can be run on the model, and what was
    published is said."""
    name = program_of(path)
    program, options = options_of(name, ["--config", str(path)])
    assert set(options.paper) >= {
        "title",
        "id",
        "table",
        "method",
        "command",
        "expected",
        "counts",
        "unknown",
    }
    assert str(path.relative_to(ROOT)) in options.paper["command"]
    pretraining = module("common.pretraining")
    fields = pretraining.fields_of(program, options)
    schedule = pretraining.schedule_of(options, fields)
    family = getattr(kgrow.models, fields.pop("family"))
    assert set(schedule.sizes[-1]) <= set(family.axes.fields)
    # The run ends at the model that is named.
    sizes = {k: v for k, v in schedule.sizes[-1].items() if k in fields}
    assert sizes.items() <= fields.items()
    assert options.batch_size % 8 == 0
    assert options.precision == "mixed_bfloat16"
    assert options.warmup_steps < schedule.total_steps
    if "saving" in options.paper["expected"] and schedule.expected:
        saving = options.paper["expected"]["saving"]
        assert schedule.expected["saving"] == pytest.approx(saving, abs=5e-3)


def test_schedules_in_files_are_those_of_a_configuration():
    named = {
        options_of(program_of(path), ["--config", str(path)])[1].schedule
        for path in CONFIGS
    }
    files = (SCRIPTS / "configs" / "schedules").glob("*.json")
    assert {str(path) for path in files} <= named


def test_flags_go_before_the_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[model]\ndropout = 0.2\nvocabulary_size = 300\n[run]\nmesh = "2x4"\n'
        "learning_rate = 3e-4\nbatch_size = 64\ntensorboard = false\n"
    )
    given = ["--config", str(path), "--batch-size", "32"]
    _, options = options_of("train_gpt2", [*given, "--field", "dropout=0.0"])
    assert options.batch_size == 32 and options.mesh == (2, 4)
    assert options.learning_rate == 3e-4 and options.tensorboard is False
    assert options.fields == {"dropout": 0.0, "vocabulary_size": 300}


@pytest.mark.parametrize(
    "text, message",
    [
        ("[run]\nbatchsize = 3\n", "Did you mean `batch_size`"),
        ("[paper]\nyear = 3\n", "`year`"),
        ("[training]\nbatch_size = 3\n", "no table `training`"),
        ("[run]\nbatch_size = 0\n", "batch_size=0"),
        ("[run]\nmesh = '2 by 4'\n", "2 by 4"),
        ("[run]\nprecision = 'float8'\n", "float8"),
        ("[run]\nsmoke = 1\n", "true or false"),
        ("[run\n", "TOML"),
    ],
)
def test_what_a_file_must_not_have(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(GrowthError, match=message):
        options_of("train_gpt2", ["--config", str(path)])


def test_a_file_that_is_not_there():
    with pytest.raises(GrowthError, match="nowhere.toml"):
        options_of("train_gpt2", ["--config", "nowhere.toml"])


@pytest.mark.parametrize("text", ["", "x4", "0x4", "2x", "2x4x2", "two"])
def test_a_mesh_is_two_numbers(text):
    with pytest.raises(argparse.ArgumentTypeError, match="mesh"):
        module("common.settings").mesh(text)


TINY = [
    "--model",
    "gpt2_base",
    "--field",
    "vocabulary_size=256",
    "--schedule",
    str(SCRIPTS / "configs" / "smoke" / "gpt2.json"),
    "--data",
    "stdlib",
    "--batch-size",
    "8",
    "--sequence-length",
    "16",
]


@on_jax
@pytest.mark.parametrize(
    "change, message",
    [
        (["--model", "deit_small"], "trains GPT2"),
        (["--model", "gpt3"], "Unknown configuration"),
        (["--schedule", "Sch9"], "Unknown schedule"),
        (["--schedule", "none.json"], "no such file"),
        (["--data", "wiki", "--tokenizer", "bytes"], "data='wiki'"),
        (["--field", "width=3"], "no field `width`"),
        (["--field", "vocabulary_size=100"], "vocabulary_size=100"),
        (["--tokenizer", "none/there"], "read as bytes"),
        (["--data", "text:x", "--tokenizer", "none/there"], "none/there"),
        (["--data", "text:x"], "`--tokenizer`"),
        (["--mesh", "3x5"], "15 devices"),
        (["--checkpoint-format", "pickle"], "pickle"),
        (["--learning", "3"], "--learning"),
        (["--warmup-steps", "99999", "--checkpoints", "unused"], "warmup"),
    ],
)
def test_wrong_flags_end_with_a_sentence(change, message, capsys):
    with pytest.raises(SystemExit) as error:
        module("train_gpt2").main([*TINY, "--dry-run", *change])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


@on_jax
def test_flash_attention_is_off(monkeypatch):
    """Whatever layers a network is made of: on TPUs it is wrong."""
    from keras.src.backend import config

    keras.config.enable_flash_attention()
    _, options = options_of("train_gpt2", TINY)
    module("common.devices").start(options)
    assert config.is_flash_attention_enabled() is False


def test_stochastic_depth_is_a_field_of_the_model():
    """Not a change of one that is there: that is a growth, with values."""
    path = SCRIPTS / "configs" / "ligo_deit.toml"
    program, options = options_of("train_deit", ["--config", str(path)])
    fields = module("common.pretraining").fields_of(program, options)
    assert fields["layer_drop"] == options.stochastic_depth > 0
    sizes = dict(num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=8)
    fields.update(sizes, image_size=32)
    model = getattr(kgrow.models, fields.pop("family"))(**fields)
    before = model.network
    program.compiled(model, options, 10_000)
    assert model.network is before
    assert model.training_options["layer_drop"] == options.stochastic_depth


@on_jax
def test_what_a_run_needs_is_asked_for(capsys):
    for flag in ("--model", "--schedule", "--batch-size", "--sequence-length"):
        place = TINY.index(flag)
        with pytest.raises(SystemExit):
            module("train_gpt2").main(
                [*TINY[:place], *TINY[place + 2 :], "--dry-run"]
            )
        assert f"`{flag}`" in capsys.readouterr().err


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX is what they run on"
)
def test_other_backends_are_refused(capsys):
    with pytest.raises(SystemExit):
        module("train_gpt2").main([*TINY, "--dry-run"])
    assert "KERAS_BACKEND" in capsys.readouterr().err


# A run before it runs.


@on_jax
def test_the_plan_is_the_schedule_s(capsys):
    assert module("train_gpt2").main([*TINY, "--dry-run"]) == {"dry_run": True}
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines()]
    assert ["1", "0", "to", "12"] == rows[1][:4]
    assert ["3", "24", "to", "34", "num_layers", "2", "lemon"] == rows[3][:7]
    # Built for real, the last stage has as many parameters.
    model = kgrow.models.GPT2(
        vocabulary_size=256,
        num_layers=2,
        num_heads=4,
        hidden_dim=24,
        intermediate_dim=64,
        head_dim=4,
        max_sequence_length=1024,
    )
    assert f"{model.count_params():,}" in rows[3]
    assert "gpt2_base" not in text and "data stdlib" in text


@on_jax
def test_a_source_leaves_the_first_stage_out():
    pretraining = module("common.pretraining")
    path = SCRIPTS / "configs" / "ligo_deit.toml"
    given = ["--config", str(path), "--source", "small.weights.h5"]
    program, options = options_of("train_deit", given)
    fields = pretraining.fields_of(program, options)
    whole = pretraining.schedule_of(options, fields)
    left = pretraining.without_first(whole, options)
    assert len(left) == 1 and left.sizes[0] == whole.sizes[1]
    assert left.total_steps == whole.total_steps - whole.stages[0].until.count
    # 300 epochs of ImageNet, in batches of 1024.
    assert left.total_steps == 300 * (1_281_167 // 1024)


@on_jax
@pytest.mark.slow
def test_a_source_is_grown_before_the_first_batch(tmp_path):
    """By the second stage's strategy; the function is the source's, and the
    optimizer begins at zero whatever the file says."""
    pretraining = module("common.pretraining")
    sizes = {
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "num_heads": 2,
        "num_layers": 1,
    }
    schedule = tmp_path / "schedule.json"
    stages = [
        {"until": 50, "config": sizes},
        {"until": 80, "config": {"num_layers": 2}, "strategy": "lemon"},
    ]
    schedule.write_text(json.dumps({"stages": stages}))
    small = kgrow.models.GPT2(
        vocabulary_size=256, max_sequence_length=1024, **sizes
    )
    small.compile("adamw", "mse")
    small.optimizer.build(small.trainable_variables)
    small.optimizer.iterations.assign(7)
    path = str(tmp_path / "small.weights.h5")
    small.save_weights(path)
    given = [*TINY, "--schedule", str(schedule), "--source", path]
    run = pretraining.Run(*options_of("train_gpt2", given)).begin()
    assert run.model.growth_config["num_layers"] == 2
    assert run.total_steps == 30 and run.growth.progress.steps == 0
    assert int(run.model.optimizer.iterations) == 0
    (receipt,) = run.model.growth_history
    assert receipt.exact and receipt.source_config["num_layers"] == 1
    for layer in ("token_embedding", "position_embedding"):
        found = getattr(run.model.network, layer).embeddings
        wanted = getattr(small.network, layer).embeddings
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(GrowthError, match="other sizes"):
        other = kgrow.models.GPT2(
            vocabulary_size=256,
            max_sequence_length=1024,
            **{**sizes, "hidden_dim": 16},
        )
        other.save(str(tmp_path / "other.keras"))
        pretraining.load_source(small, str(tmp_path / "other.keras"))


def test_a_layout_follows_from_the_names_of_axes():
    table = module("common.layouts").table(kgrow.models.GPT2.axes)
    block = r"(^|.*/)transformer_layer_\d+/"
    assert table[f"{block}self_attention/query/kernel$"] == (
        None,
        "model",
        None,
    )
    assert table[f"{block}feedforward_output_dense/kernel$"] == ("model", None)
    assert not any("norm" in pattern for pattern in table)


def test_every_variable_has_one_layout_at_most():
    import re

    layouts = module("common.layouts")
    for name in ("GPT2", "BERT", "RoBERTa", "ViT"):
        family = getattr(kgrow.models, name)
        rows = layouts.table(family.axes)
        for pattern in family.axes.rules:
            path = "network/" + pattern.replace("{layers}", "3")
            assert sum(bool(re.search(p, path)) for p in rows) <= 1, path


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "table"),
        ('{"a": "model"}', "axis"),
        ('{"a": ["pipe"]}', "pipe"),
        ('{"(": ["model"]}', "expression"),
        ("{", "layout="),
    ],
)
def test_a_layout_file_is_checked(tmp_path, text, message):
    path = tmp_path / "layout.json"
    path.write_text(text)
    with pytest.raises(GrowthError, match=message):
        module("common.layouts").read(path)


# Data.


def tokens(name, masked=False, shard=(0, 1), tokenizer="bytes", seed=0):
    token_data = module("common.token_data")
    return token_data.TokenSource(
        name,
        token_data.vocabulary(tokenizer),
        token_data.Objective(masked),
        seed=seed,
        shard=shard,
    )


def read(data, count):
    found = []
    for index, batch in enumerate(data):
        if index == count:
            break
        found.append(
            keras.tree.map_structure(
                lambda a: np.asarray(keras.ops.convert_to_numpy(a)), batch
            )
        )
    return found


@pytest.fixture
def text_files(tmp_path):
    """Three files of some lines, all of them different."""
    for number in range(3):
        lines = [
            f"document {number} {i} " + "word " * (i % 7) for i in range(40)
        ]
        (tmp_path / f"part{number}.txt").write_text("\n".join(lines) + "\n")
    return f"text:{tmp_path}/part*.txt"


@on_jax
@pytest.mark.parametrize("masked", [False, True])
def test_batches_are_static_and_go_on_where_they_were(text_files, masked):
    source = tokens(text_files, masked)
    whole = read(source.batches(4, 16), 8)
    rest = read(source.batches(4, 16, first=5), 3)
    for one, other in zip(whole[5:], rest, strict=True):
        for a, b in zip(
            keras.tree.flatten(one), keras.tree.flatten(other), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    x = whole[0][0]["token_ids"] if masked else whole[0][0]
    assert x.shape == (4, 16) and x.dtype == np.int32
    spec = source.batches(4, 16).element_spec
    shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(spec)]
    assert all(None not in shape for shape in shapes)


@on_jax
def test_next_tokens_are_the_targets(text_files):
    ((x, y),) = read(tokens(text_files).batches(4, 16), 1)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])


@on_jax
def test_hidden_tokens_are_the_targets(text_files):
    token_data = module("common.token_data")
    found = read(tokens(text_files, masked=True).batches(8, 40), 20)
    hidden = shown = kept = 0
    for x, y in found:
        assert x["masked_positions"].shape == y.shape == (8, 6)
        places = x["masked_positions"]
        assert (np.diff(places, axis=1) > 0).all()
        seen = np.take_along_axis(x["token_ids"], places, axis=1)
        hidden += (seen == token_data.MASK).sum()
        kept += (seen == y).sum()
        shown += seen.size
    # 80 % and 10 %; a byte drawn at random may be the same one.
    assert abs(hidden / shown - 0.8) < 0.06
    assert abs(kept / shown - 0.1) < 0.06
    other = read(tokens(text_files, masked=True).batches(8, 40), 2)
    assert (
        other[0][0]["masked_positions"] != other[1][0]["masked_positions"]
    ).any()


@on_jax
def test_hosts_read_different_documents(text_files):
    def lines(shard):
        ids = tokens(text_files, shard=shard)._ids(
            module("common.token_data")._tensorflow(), True, 0
        )
        return {bytes(row.numpy().astype("uint8")) for row in ids}

    parts = [lines((number, 3)) for number in range(3)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 120
    source = tokens("stdlib")
    whole = source.batches(8, 16)[3][0]
    halves = [
        tokens("stdlib", shard=(number, 2)).batches(8, 16)[3][0]
        for number in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(halves), whole)


@on_jax
def test_records_of_tokens_are_used_as_they_are(tmp_path):
    import tensorflow as tf

    path = str(tmp_path / "tokens.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for start in range(0, 60, 20):
            feature = tf.train.Feature(
                int64_list=tf.train.Int64List(value=range(start, start + 20))
            )
            features = tf.train.Features(feature={"tokens": feature})
            record = tf.train.Example(features=features)
            writer.write(record.SerializeToString())
    source = tokens(f"tfrecord:{path}")
    data = source.batches(1, 30, training=False)
    x, y = read(data, 1)[0]
    between = 10
    assert x[0].tolist() == [*range(20), between, *range(20, 29)]
    assert y[0, -1] == 29


@on_jax
def test_tfds_text_is_read_by_name():
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=20):
        source = tokens("tfds:lm1b@train")
        x, y = read(source.batches(2, 8), 1)[0]
        with pytest.raises(GrowthError, match="no feature `text`"):
            read(tokens("tfds:glue/mrpc@train").batches(2, 8), 1)
    assert x.shape == y.shape == (2, 8)


@on_jax
def test_data_that_are_not_there():
    for name in ("text:/nowhere/*.txt", "tfds:nothing@train"):
        with pytest.raises(GrowthError, match="nowhere|nothing"):
            tokens(name).batches(2, 8)


@on_jax
def test_a_tokenizer_of_kerashub(text_files, tmp_path):
    import keras_hub

    token_data = module("common.token_data")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] document word".split()
    tokenizer = keras_hub.tokenizers.BertTokenizer(
        vocabulary=[*words, *"0123456789"], dtype="int32"
    )
    known = token_data.of_tokenizer(tokenizer)
    assert (known.first, known.last, known.mask) == (2, 3, 4)
    source = token_data.TokenSource(
        text_files, known, token_data.Objective(masked=True)
    )
    x, _ = read(source.batches(4, 16), 1)[0]
    assert (x["token_ids"][:, 0] == 2).all()
    assert (x["token_ids"][:, -1] == 3).all()
    assert x["masked_positions"].min() > 0
    assert x["masked_positions"].max() < 15


def test_digits_are_whole_batches():
    source = module("common.image_data").ImageSource("digits", 8, channels=1)
    assert source.batches(32)[0][0].shape == (32, 8, 8, 1)
    test = source.batches(100, training=False)
    assert test.num_batches == 3 and test[2][1].shape == (100, 10)


# The learning rate.


def test_the_rate_goes_up_and_down():
    optimizing = module("common.optimizing")
    rate = optimizing.WarmupLinear(1e-3, 10, 110)
    config = keras.saving.serialize_keras_object(rate)
    again = keras.saving.deserialize_keras_object(config)
    for step, value in ((0, 0), (5, 5e-4), (10, 1e-3), (60, 5e-4), (200, 0)):
        assert float(rate(step)) == pytest.approx(value, abs=1e-9)
        assert float(again(step)) == float(rate(step))
    with pytest.raises(GrowthError, match="warmup_steps=5"):
        optimizing.WarmupLinear(1e-3, 5, 5)


# Metrics, against values worked out by hand.


def test_metrics_of_glue():
    metrics = module("common.glue_metrics")
    labels = [1, 0, 1, 1, 0, 1, 0, 0, 1, 0]
    found = [1, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert metrics.accuracy(labels, found) == 0.7
    assert metrics.f1(labels, found) == pytest.approx(2 / 3)
    assert metrics.matthews(labels, found) == pytest.approx(0.408248290463863)
    x = [1.0, 2.0, 3.0, 4.0]
    assert metrics.pearson(x, [1.0, 2.0, 2.0, 5.0]) == pytest.approx(
        0.894427190999916
    )
    # Equal values share the mean of their ranks.
    assert metrics.spearman(x, [1.0, 2.0, 2.0, 5.0]) == pytest.approx(
        0.9486832980505138
    )


def test_metrics_where_nothing_varies():
    metrics = module("common.glue_metrics")
    assert metrics.f1([0, 0], [0, 0]) == 0.0
    assert metrics.matthews([1, 0], [1, 1]) == 0.0
    assert metrics.spearman([1.0, 2.0], [3.0, 3.0]) == 0.0


def test_scores_are_those_of_the_task():
    glue = module("common.glue")
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 3.0]])
    found = glue.scores(glue.get("mrpc"), [0, 1, 0], logits)
    assert found == {
        "accuracy": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
    }
    numbers = glue.scores(glue.get("stsb"), [1.0, 2.0], [[0.3], [0.9]])
    assert numbers == pytest.approx({"pearson": 1.0, "spearman": 1.0})
    with pytest.raises(GrowthError, match="task='imdb'"):
        glue.get("imdb")


def test_metrics_of_squad():
    metrics = module("common.squad_metrics")
    assert metrics.normalized("An Apple-Pie,  the best!") == "applepie best"
    assert metrics.exact_match("1989.", "1989") == 1.0
    assert metrics.f1("in the year 1989", "1989") == 0.5
    # Words count as often as they stand there.
    assert metrics.f1("new new york", "new york york") == pytest.approx(2 / 3)
    assert metrics.f1("", "something") == 0.0
    truths = {"a": ["Paris", "city of Paris"], "b": ["1989"], "c": []}
    answers = {"a": "the city of Paris", "c": ""}
    found = metrics.score(answers, truths)
    assert found == {
        "exact_match": pytest.approx(200 / 3),
        "f1": pytest.approx(200 / 3),
    }


# SQuAD's windows.


class Words:
    """A tokenizer of one token for each letter of a word."""

    pad_token_id, cls_token_id, sep_token_id = 0, 1, 2

    def __call__(self, words):
        return [[100 + ord(letter) for letter in word] for word in words]


def windows_of(example, length, stride):
    squad = module("common.squad")
    frame = squad.Frame(1, 2, 1, 0, True)
    found = squad.windows(example, squad.Pieces(Words()), length, stride, frame)
    return squad, frame, found


EXAMPLE = {
    "id": "q",
    "question": "who ?",
    "context": "It was, they say, Ada Lovelace who wrote it in 1843.",
    "answers": [("Ada Lovelace", 18)],
}


@pytest.mark.parametrize("length, stride", [(64, 16), (24, 7), (30, 10)])
def test_an_answer_that_is_learned_is_the_answer(length, stride):
    """From the targets themselves comes the text that the data set has, in
    every window that has it whole."""
    squad, frame, found = windows_of(EXAMPLE, length, stride)
    assert all(len(window.tokens) <= length for window in found)
    covered = set()
    for window in found:
        covered |= set(window.places)
        first, last = window.context
        assert len(window.places) == last - first
    assert len(covered) == len({p for w in found for p in w.places})
    assert min(covered)[0] == 0
    assert max(covered)[1] == len(EXAMPLE["context"])
    with_answer = [w for w in found if w.answer != (0, 0)]
    assert with_answer
    x, y = squad.arrays(with_answer, frame, length)
    assert x["token_ids"].shape == (len(with_answer), length)
    outputs = {
        name: np.where(np.arange(length) == places[:, None], 9.0, 0.0)
        for name, places in y.items()
    }
    answers = squad.answers(with_answer, outputs, [EXAMPLE])
    assert answers == {"q": "Ada Lovelace"}


def test_an_answer_elsewhere_is_left_out():
    moved = {**EXAMPLE, "answers": [("Ada Lovelace", 17)]}
    assert windows_of(moved, 64, 16)[2] == []


def test_a_question_may_have_no_answer():
    squad, _, found = windows_of({**EXAMPLE, "answers": []}, 64, 16)
    assert [window.answer for window in found] == [(0, 0)]
    low = np.zeros((1, 64))
    high = np.where(np.arange(64) == 0, 9.0, 0.0)[None]
    for logits, answer in ((high, ""), (low - high, "It")):
        outputs = {"start": logits, "end": logits}
        made = squad.answers(found, outputs, [EXAMPLE], may_have_none=True)
        assert made == {"q": answer}


def test_spans_are_in_order_and_short():
    squad = module("common.squad")
    start, end = np.full(100, -20.0), np.full(100, -20.0)
    # The end with the highest value comes before, the next too far behind.
    start[50], end[40], end[60], end[95] = 5.0, 9.0, 1.0, 8.0
    assert squad.best_span(start, end, (10, 100)) == (6.0, 50, 60)
    assert squad.best_span(start, end, (5, 5)) is None


@on_jax
def test_glue_is_read_from_tfds():
    import tensorflow_datasets as tfds

    glue = module("common.glue")
    with tfds.testing.mock_data(num_examples=5):
        for name, task in glue.TASKS.items():
            texts, labels = glue.examples(name, task.splits[0])
            assert len(texts) == len(task.features)
            assert {len(part) for part in texts} == {len(labels)} == {5}
    with pytest.raises(GrowthError, match="glue/mrpc"):
        glue.examples("mrpc", "train", "/nowhere")


@on_jax
def test_squad_is_read_from_tfds():
    import tensorflow_datasets as tfds

    glue, squad = module("common.glue"), module("common.squad")
    with tfds.testing.mock_data(num_examples=3):
        for name in ("squad", "squad/v2.0"):
            rows = glue.read_tfds(name, "validation")
            made, truths = squad.examples(rows)
            assert len(made) == 3 and set(truths) == {e["id"] for e in made}


# What a run writes.


def test_lines_are_appended(tmp_path):
    records = module("common.records")
    folder = str(tmp_path / "logs")
    records.append(folder, '{"a": 1}')
    records.append(folder, '{"a": 2}')
    path = tmp_path / "logs" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    assert [json.loads(line)["a"] for line in lines] == [1, 2]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    folders = module("common.folders")
    assert folders.check_writable(str(tmp_path / "new" / "folder")) is None
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(GrowthError, match="file"):
        folders.check_writable(str(tmp_path / "file" / "below"))


# All of it, in processes with eight simulated devices.


@functools.cache
def smoke(name, *arguments):
    return start(SCRIPTS / f"{name}.py", "--smoke", *arguments)


@pytest.mark.slow
@on_jax
def test_gpt2_in_miniature():
    """Trained on a mesh of 2 x 4, grown, broken off in a ramp, gone on."""
    out = smoke("train_gpt2").stdout
    assert "12 of 12 checks, 8 devices" in out, out
    assert "goes on at step 18, stage 2 of 3" in out


@on_jax
@pytest.mark.slow
@pytest.mark.parametrize(
    "name, checks",
    [
        ("train_bert", 12),
        ("train_deit", 12),
        ("finetune_glue", 3),
        ("finetune_squad", 4),
    ],
)
def test_the_others_in_miniature(name, checks):
    out = smoke(name).stdout
    assert f"{checks} of {checks} checks, 8 devices" in out, out


@on_jax
@pytest.mark.slow
def test_gpt2_from_a_backup():
    out = smoke("train_gpt2", "--checkpoint-format", "backup").stdout
    assert "12 of 12 checks" in out, out


@on_jax
@pytest.mark.slow
def test_the_notebook_for_kaggle(tmp_path):
    """Its cells, all but the installation, in miniature."""
    notebook = json.loads((SCRIPTS / "kaggle_tpu.ipynb").read_text())
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    lines = [line for cell in cells for line in [*cell["source"], "\n"]]
    program = "".join(line for line in lines if not line.startswith("%"))
    out = start(
        "-c",
        program,
        KGROW_SMOKE="1",
        KGROW_SOURCE=str(ROOT),
        KGROW_WORKING=str(tmp_path),
    ).stdout
    assert "kgrow: stage 3 of 3" in out
    end = out.strip().splitlines()[-1]
    assert "2 layers of 16, on 8 devices, equal to the model" in end
    assert not (tmp_path / "backup").exists()


PREFLIGHT = [
    "train_gpt2",
    "--config",
    str(SCRIPTS / "configs" / "smoke" / "train_gpt2.toml"),
    "--json",
]

# Several times in one process, which has the same devices all along.
SEVERAL = """
import contextlib, io, json, sys
import preflight
import keras
from jax._src import xla_bridge

def initialize():
    # The processes must find each other before JAX finds devices.
    assert not found and not xla_bridge._backends

keras.distribution.initialize = initialize
found = []
for arguments in json.loads(sys.argv[1]):
    more = [] if found else ["--multi-host"]
    with contextlib.redirect_stdout(io.StringIO()) as text:
        code = preflight.main([*arguments, *more])
    found.append([code, json.loads(text.getvalue())])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def preflights(tmp_path_factory):
    """Of a run that can begin, and of one that cannot."""
    folder = tmp_path_factory.mktemp("preflight")
    schedule = folder / "schedule.json"
    sizes = {"hidden_dim": 16, "intermediate_dim": 32, "num_heads": 4}
    stages = [
        {"until": 5, "config": {**sizes, "num_layers": 1}},
        {"until": 9, "config": {"intermediate_dim": 42}},
    ]
    schedule.write_text(json.dumps({"stages": stages}))
    (folder / "file").write_text("")
    right = ["--checkpoints", str(folder / "checkpoints")]
    wrong = ["--schedule", str(schedule), "--batch-size", "15"]
    wrong += ["--checkpoints", str(folder / "file" / "below")]
    runs = json.dumps([[*PREFLIGHT, *right], [*PREFLIGHT, *wrong]])
    path = os.pathsep.join([str(ROOT), str(SCRIPTS)])
    done = start("-c", SEVERAL, runs, PYTHONPATH=path)
    found = json.loads(done.stdout.splitlines()[-1])
    return folder, [
        (code, {check["name"]: check for check in report["checks"]})
        for code, report in found
    ]


@on_jax
def test_preflight_of_a_run_that_can_begin(preflights):
    folder, ((code, checks), _) = preflights
    assert code == 0
    assert {check["verdict"] for check in checks.values()} == {"ok"}
    assert checks["devices"]["values"]["devices"] == 8
    assert checks["mesh"]["values"]["mesh"] == [2, 4]
    # Three stages, one of which has a ramp.
    assert checks["compilations"]["values"]["compilations"] == 4
    stages = checks["memory"]["values"]["stages"]
    assert [s["bytes"] for s in stages] == sorted(s["bytes"] for s in stages)
    assert list((folder / "checkpoints").iterdir()) == []


@on_jax
def test_preflight_says_all_that_is_wrong(preflights):
    """A size that does not divide, a batch that does not, a folder that is
    none."""
    _, (_, (code, checks)) = preflights
    assert code == 1
    assert checks["batches"]["verdict"] == "FAILED"
    assert "14 or 16" in checks["batches"]["detail"]
    assert checks["layout"]["verdict"] == "FAILED"
    assert "40 or 44" in checks["layout"]["detail"]
    assert checks["checkpoints"]["verdict"] == "FAILED"
    assert checks["memory"]["verdict"] == "skipped"


def test_preflight_asks_for_a_program(capsys):
    preflight = module("preflight")
    assert preflight.main(["train_llama"]) == 2
    assert "train_gpt2.py" in capsys.readouterr().err
