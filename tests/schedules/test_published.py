"""The papers' schedules: as they are printed, and run in miniature."""

import functools
import math

import keras
import numpy as np
import pytest
from helpers.training import BACKEND

import kgrow
from kgrow import GrowthError, schedules
from kgrow.callbacks import Growth
from kgrow.schedules import GrowthSchedule, Tokens

pytestmark = pytest.mark.compiles

NAMES = schedules.names()
VOCABULARY = 16
# Where steps are compiled, twice for each stage with gates, most are slow.
QUICK = ("Sch1-B", "CompoundGrow") if BACKEND == "torch" else ()
DECODERS = ("Sch1-G", "Sch-GPT-New", "Staged", "One-layer", "G_stack")


@pytest.mark.parametrize("name", NAMES)
def test_laws(name):
    schedule = schedules.get(name)
    assert schedule.name == name
    assert schedules.get(name.upper()) == schedule
    assert schedules.get(schedule) is schedule
    assert GrowthSchedule.from_json(schedule.to_json()) == schedule
    assert schedule.source and schedule.expected["counts"]
    saving = 1 - 1 / schedule.expected["speed_up"]
    assert abs(schedule.expected["saving"] - saving) < 0.01
    lines = str(schedule).splitlines()
    assert lines[0] == name and len(lines) == len(schedule) + 2
    assert schedule.scaled(factor=1) == schedule
    half = schedule.scaled(factor=0.5)
    assert half.sizes == schedule.sizes and len(half) == len(schedule)
    for index in range(1, len(schedule)):
        assert schedule.grows(index) or schedule.stages[index].changes


def test_the_tables_of_msg():
    """The rows (hidden, ffn, heads, layers), from the paper's Table 2."""
    schedule = schedules.get("Sch1-L")
    rows = [tuple(sizes.values()) for sizes in schedule.sizes]
    assert rows == [
        (768, 1024, 12, 64, 6),
        (768, 4096, 12, 64, 6),
        (768, 4096, 12, 64, 12),
        (1024, 4096, 12, 64, 12),
        (1024, 4096, 16, 64, 12),
        (1024, 4096, 16, 64, 24),
    ]
    ends = [stage.until.count // 1000 for stage in schedule.stages]
    assert ends == [200, 400, 500, 600, 700, 900]
    resets = [bool(stage.learning_rate) for stage in schedule.stages]
    assert resets == [False, True, True, False, False, False]
    assert {s.ramp.steps for s in schedule.stages[1:]} == {5000}
    assert not any(s.learning_rate for s in schedules.get("Sch1-G").stages)


@pytest.mark.parametrize("prefix", ["Sch1", "Sch0", "Rapid", "Sch-GPT"])
def test_msg_ends_at_the_target(prefix):
    for name in NAMES:
        if name.startswith(prefix):
            large = name.endswith("L")
            final = schedules.get(name).sizes[-1]
            assert final["hidden_dim"] == (1024 if large else 768)
            assert final["num_layers"] == (24 if large else 12)
            assert final["hidden_dim"] == 64 * final["num_heads"]


def test_arguments():
    assert schedules.get("CompoundGrow", large=True).sizes[-1] == {
        "hidden_dim": 1024,
        "intermediate_dim": 4096,
        "num_heads": 16,
        "head_dim": 64,
        "num_layers": 24,
    }
    assert schedules.get("Sch1-G", total_steps=300_000).total_steps == 300_000
    assert schedules.get("One-layer", at=0.5).stages[0].until.count == 300_000
    with pytest.raises(GrowthError, match="multiple of the factor"):
        schedules.get("G_stack", factor=3)
    with pytest.raises(GrowthError, match="Did you mean 'Sch1-B'"):
        schedules.get("sch1b")


def test_when_to_stack():
    """log10(d) = 0.88 log10(N) + 163.27 / log10(C) - 5.74"""
    found = schedules.growth_tokens(1e9, 1e21)
    assert abs(math.log10(found) - (7.92 + 163.27 / 21 - 5.74)) < 1e-6
    schedule = schedules.get("G_stack", parameters=1e9, flops=1e21)
    assert schedule.stages[0].until == Tokens(found)
    assert schedule.stages[1].until == Tokens(round(1e21 / 6e9))


def miniature(name, **arguments):
    """The schedule in a dozen steps, at the smallest whole sizes."""
    schedule = schedules.get(name, **arguments)
    final = {}
    for field, size in schedule.sizes[-1].items():
        sizes = [found[field] for found in schedule.sizes]
        final[field] = size // functools.reduce(math.gcd, sizes)
    # A norm over one or two units has next to nothing to do.
    final["hidden_dim"] *= 4
    final["num_layers"] = max(final["num_layers"], 1)
    for field, size in (("sequence_length", 8), ("batch_size", 4)):
        if schedule.setting(len(schedule) - 1, field):
            final[field] = size
    small = schedule.resized(**final)
    last = small.stages[-1].until
    if isinstance(last, Tokens):
        return small.scaled(factor=32 * 15 / last.count)
    return small.scaled(total_steps=45 if len(small) > 4 else 16)


RUNS = {name: (name, {}) for name in NAMES}
RUNS["CompoundGrow, cut"] = "CompoundGrow", {"pooled": False}


@pytest.mark.parametrize(
    "run",
    [
        run if run in QUICK else pytest.param(run, marks=pytest.mark.slow)
        for run in RUNS
    ],
)
def test_it_runs_to_its_end(run):
    name, arguments = RUNS[run]
    schedule = miniature(name, **arguments)
    family = "GPT2" if name.startswith(DECODERS) else "BERT"
    sizes = {"intermediate_dim": 8, **schedule.sizes[0]}
    model = getattr(kgrow.models, family)(
        vocabulary_size=VOCABULARY, max_sequence_length=8, dropout=0.0, **sizes
    )
    rate = keras.optimizers.schedules.PolynomialDecay(1e-3, 100, 1e-4)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # TensorFlow's compiler takes seconds for what is run a few times.
        jit_compile=False if BACKEND == "tensorflow" else "auto",
    )
    x = y = np.random.default_rng(0).integers(0, VOCABULARY, (16, 8))
    if schedule.stages[0].training_options:
        # Pooled sequences are predicted at some positions only.
        x = {"token_ids": x, "masked_positions": x[:, :2] % 8}
        y = y[:, :2]
    history = kgrow.fit(
        model,
        schedule,
        x,
        y,
        batch_size=4,
        sequence_length=8,
        verbose=0,
        callbacks=[Growth(schedule, data=(x, y), verbose=0)],
    )
    config = model.growth_config
    assert {f: config[f] for f in schedule.sizes[-1]} == schedule.sizes[-1]
    assert np.isfinite(history.history["loss"]).all()
    grown = [i for i in range(len(schedule)) if schedule.grows(i)]
    assert len(model.growth_history) == len(grown)
    events = model.callback_state["growth"]["events"]
    assert [event["stage"] for event in events] == [
        index + 1 for index in range(len(schedule))
    ]
    total = schedule.total_steps
    if total is not None:
        assert int(model.optimizer.iterations) == total
        begins = [event["step"] for event in events]
        assert begins[1:] == [s.until.count for s in schedule.stages[:-1]]
