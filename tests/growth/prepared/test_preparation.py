"""Steps that are compiled ahead are the steps that a run takes anyway."""

import threading

import keras
import numpy as np
import pytest
from helpers.training import BACKEND

import kgrow
from kgrow import GrowthError, backend, lowering
from kgrow.callbacks import Growth, stage_preparation
from kgrow.growth.gates import gates_of
from kgrow.growth.lowering.train_step import build
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.prepared import preparation
from kgrow.growth.prepared.step_facts import differing, step_facts
from kgrow.schedules import GrowthSchedule, Stage
from kgrow.schedules.progress import Progress

BIG = {"hidden_dim": 6, "num_layers": 2}
X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X[:, :2]

compiled = pytest.mark.skipif(
    not backend.compiles, reason="nothing is compiled ahead on this backend"
)
on_jax = pytest.mark.skipif(
    BACKEND != "jax", reason="JAX lowers on shapes alone"
)


def small(optimizer=None, **settings):
    keras.utils.set_random_seed(0)
    model = kgrow.models.MLP(
        input_dim=3,
        output_dim=2,
        hidden_dim=4,
        intermediate_dim=8,
        num_layers=1,
        dropout=0.1,
    )
    if optimizer is None:
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse", **settings)
    return model


def train(model, batch_size=8, epochs=1, **arguments):
    return model.fit(
        X, Y, batch_size=batch_size, epochs=epochs, verbose=0, **arguments
    ).history


def values(model):
    return [
        np.asarray(keras.ops.convert_to_numpy(v))
        for v in [*model.variables, *model.optimizer.variables]
    ]


def waited(model):
    """Whether all that was prepared is done."""
    return all(p.wait(120) for p in model._programs._preparations)


def assert_equal(one, other):
    for left, right in zip(values(one), values(other), strict=True):
        np.testing.assert_array_equal(left, right)


def prepared_run(strategy="net2net", before=lambda model: None, **after):
    """A model that trained, was prepared for a growth, grew and trained."""
    model = small()
    train(model)
    done = model.prepare(BIG, strategy)
    before(model)
    model.grow(BIG, strategy, seed=0)
    train(model, **after)
    return model, done


def plain_run(strategy="net2net", before=lambda model: None, **after):
    model = small()
    train(model)
    before(model)
    model.grow(BIG, strategy, seed=0)
    train(model, **after)
    return model


@pytest.mark.each
def test_results_are_equal_to_the_bit_with_and_without():
    """With validation, a gate, and the network that is left without it."""

    def run(prepare):
        model = small(metrics=["mae"])
        msg = kgrow.strategies.MSG(ramp=2)
        data = {"validation_data": (X, Y)}
        found = [train(model, **data)]
        if prepare:
            done = model.prepare(BIG, msg)
            assert done.wait(120) and done.failure is None
            kinds = [step.kind for step in done.steps]
            wanted = ["test", "test", "train", "train"]
            assert sorted(kinds) == wanted * backend.compiles
        receipt = model.grow(BIG, msg, seed=0)
        found += [train(model, **data, epochs=2)]
        if prepare:
            taken = [("train", None), ("test", None), ("train", None)]
            assert done.outcomes[:3] == taken * backend.compiles
            assert all(reason is None for _, reason in done.outcomes)
            if backend.compiles:
                assert receipt.prepared["programs"] == len(done.steps)
            else:
                assert receipt.prepared is None
        assert not model.active_gates
        return model, found

    (one, losses), (other, wanted) = run(True), run(False)
    assert losses == wanted
    assert_equal(one, other)


@compiled
@pytest.mark.prepares
def test_a_growth_by_a_schedule_takes_what_was_prepared(capsys):
    """Rates that begin at the step of the growth are foreseen, too."""
    schedule = GrowthSchedule(
        [
            Stage(4, {"hidden_dim": 4, "num_layers": 1}),
            Stage(
                8,
                {"num_layers": 2},
                "stack",
                learning_rate=[
                    kgrow.schedules.Rewarm(3),
                    kgrow.schedules.Asymmetric(old=0.1, steps=3),
                ],
                training_options={"dropout": 0.0},
            ),
            Stage(12, {"num_layers": 3}, "stack"),
        ]
    )

    class Wait(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            store = self.model._programs
            assert all(p.wait(120) for p in store._preparations)

    def run(prepare):
        model = small(keras.optimizers.Adam(kgrow.schedules.Constant(0.01)))
        growth = Growth(schedule, prepare=prepare)
        train(model, epochs=9, callbacks=[growth, Wait()])
        return model

    one, other = run(True), run(False)
    ready = [receipt.prepared["programs"] for receipt in one.growth_history]
    assert ready == [1, 1]
    assert "compiled now" not in capsys.readouterr().out
    assert not other._programs._preparations
    assert_equal(one, other)


@compiled
def test_other_batches_are_compiled_for_when_they_come(capsys):
    def wait(model):
        assert waited(model)

    after = {"validation_data": (X[:, :], Y), "batch_size": 8}
    model, done = prepared_run(before=wait, **after)
    # No validation came before: its step was not prepared.
    assert done.outcomes == [
        ("train", None),
        ("test", "it was not ready yet"),
    ]
    assert "test step is compiled now" in capsys.readouterr().out
    assert_equal(model, plain_run(**after))


@on_jax
def test_a_changed_batch_shape_drops_the_program(capsys):
    def wait(model):
        assert waited(model)

    model, done = prepared_run(before=wait, batch_size=4)
    assert done.outcomes[0][0] == "train" and done.outcomes[0][1]
    assert "batches have another shape" in capsys.readouterr().out
    assert_equal(model, plain_run(batch_size=4))


@compiled
def test_a_changed_optimizer_drops_the_program(capsys):
    def change(model):
        assert waited(model)
        model.optimizer.beta_1 = 0.5

    model, _ = prepared_run(before=change)
    assert "the optimizer changed since" in capsys.readouterr().out
    assert_equal(model, plain_run(before=change))


@compiled
def test_a_thread_that_fails_says_so_and_the_run_goes_on(monkeypatch, capsys):
    def fail(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr(preparation.backend, "compile_ahead", fail)
    model, done = prepared_run(before=waited)
    assert done.is_done and done.failure == "MemoryError: no room"
    assert model.growth_history[0].prepared["failure"] == done.failure
    out = capsys.readouterr().out
    assert out.count("MemoryError: no room") == 1
    assert "compiled ahead: nothing" in str(model.growth_history[0])
    assert_equal(model, plain_run())


@compiled
def test_a_growth_that_comes_too_early_waits_for_nothing(monkeypatch, capsys):
    goes_on = threading.Event()

    def slow(*arguments):
        goes_on.wait(120)
        raise RuntimeError("too late")

    monkeypatch.setattr(preparation.backend, "compile_ahead", slow)
    model, done = prepared_run()
    assert not done.is_done
    assert "it was not ready yet" in capsys.readouterr().out
    goes_on.set()
    assert done.wait(120)
    assert_equal(model, plain_run())


@compiled
def test_ctrl_c_ends_the_preparation_after_its_program(monkeypatch):
    begun, goes_on = threading.Event(), threading.Event()
    asked = []

    def slow(model, kind, batch, rows):
        asked.append(kind)
        begun.set()
        goes_on.wait(120)
        raise RuntimeError("nothing else is asked for")

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            assert begun.wait(120)
            raise KeyboardInterrupt

    monkeypatch.setattr(preparation.backend, "compile_ahead", slow)
    model = small()
    train(model, validation_data=(X, Y))
    done = model.prepare(BIG)
    with pytest.raises(KeyboardInterrupt):
        train(model, callbacks=[Interrupt()])
    goes_on.set()
    assert done.wait(120)
    assert len(asked) == 1
    # It neither holds the process nor asks for anything more.
    done.ask("train", "another form", None, None)
    assert done.is_done


@pytest.mark.each
def test_what_cannot_be_prepared_is_refused():
    if backend.compiles:
        with pytest.raises(kgrow.GrowthError, match="seen none"):
            small().prepare(BIG)
    model = small()
    model.compiled = False
    with pytest.raises(kgrow.GrowthError, match="not compiled"):
        model.prepare(BIG, data=(X, Y))
    with pytest.raises(kgrow.GrowthError, match="cannot shrink"):
        small().prepare({"hidden_dim": 2}, data=(X, Y))


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "lion, averaged": lambda: keras.optimizers.Lion(use_ema=True),
    "adafactor": keras.optimizers.Adafactor,
    "nadam, clipped": lambda: keras.optimizers.Nadam(clipnorm=1.0),
    "scaled, accumulated": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(gradient_accumulation_steps=2)
    ),
    "scheduled": lambda: keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(0.1, 10)
    ),
}
GROWTHS = {
    "net2net": {},
    "llama_pro": {},
    "stack": {"trainable": "new"},
    "msg": {},
    "lemon": {"learning_rate": "transfer"},
}


@pytest.mark.grid
@on_jax
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_program_of_a_stage_is_the_one_that_would_be_compiled(optimizer):
    """Operation for operation, whatever the growth and the optimizer."""
    place = list(OPTIMIZERS).index(optimizer)
    name = list(GROWTHS)[place % len(GROWTHS)]
    settings = GROWTHS[name]
    if settings.get("learning_rate") and optimizer != "sgd":
        settings = {}
    target = {"num_layers": 2} if name in ("llama_pro", "stack") else BIG
    model = small(OPTIMIZERS[optimizer]())
    batch = X[:8], Y[:8]
    model.train_on_batch(*batch)
    later = lowering.stage_model(
        model, target, kgrow.strategies.get(name), seed=0, **settings
    )
    build(later, batch_of(batch))
    guard(later)
    receipt = model.grow(target, name, seed=0, **settings)
    assert receipt.target_config == later.growth_config
    assert bool(gates_of(later.network).active_gates) == (name == "msg")
    assert differing(step_facts(later), step_facts(model)) == []
    texts = [
        lowering.lower_train_step(m, batch).program.as_text()
        for m in (later, model)
    ]
    assert texts[0] == texts[1]


def batch_of(batch):
    return tuple(keras.KerasTensor(part.shape, part.dtype) for part in batch)


@on_jax
@pytest.mark.each
def test_facts_tell_programs_apart():
    """Each fact that differs makes another program, and is named."""
    model = small()
    model.train_on_batch(X[:8], Y[:8])
    facts = step_facts(model)
    changes = {
        "the optimizer": lambda m: setattr(m.optimizer, "weight_decay", 0.2),
        "the variables that train": lambda m: setattr(
            m.network.layers[-1], "trainable", False
        ),
        "the loss or the metrics": lambda m: m.compile(m.optimizer, "mae"),
        "the network": lambda m: m.set_training_options(dropout=0.2),
    }
    for name, change in changes.items():
        other = small()
        other.train_on_batch(X[:8], Y[:8])
        assert differing(facts, step_facts(other)) == []
        change(other)
        assert name in differing(facts, step_facts(other))


@pytest.mark.parametrize("verbose", [False, True])
def test_a_growth_that_is_not_announced_says_nothing(verbose, capsys):
    made = preparation.Preparation({}, [], verbose)
    made.report("train", "it was not ready yet")
    assert ("not ready" in capsys.readouterr().out) == verbose
    assert made.outcomes == [("train", "it was not ready yet")]


@pytest.mark.parametrize("verbose", [0, 1])
def test_nor_a_stage_that_cannot_be_prepared(verbose, capsys, monkeypatch):
    def fails(*arguments):
        raise GrowthError("There is no room.")

    monkeypatch.setattr(stage_preparation, "begin_preparation", fails)
    schedule = GrowthSchedule(
        [Stage(4, {"num_layers": 1}), Stage(8, {"num_layers": 2})]
    )
    prepared = stage_preparation.StagePreparation(
        schedule, lambda index: False, bool(verbose)
    )
    progress = Progress({})
    assert prepared._begin(small(), 1, progress, None, None) is None
    assert ("There is no room" in capsys.readouterr().out) == bool(verbose)
