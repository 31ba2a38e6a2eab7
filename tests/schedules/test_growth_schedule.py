"""The `Growth` callback: stages land where they should, on any restart."""

import warnings

import keras
import numpy as np
import pytest
from helpers.training import (
    BACKEND,
    BATCH,
    LENGTH,
    STEPS,
    assert_same_state,
    compiled,
    dense_batch,
    gpt2,
    mlp,
    train,
)

from kgrow import GrowthError
from kgrow.callbacks import Growth
from kgrow.schedules import Epochs, GrowthSchedule, Stage, Tokens, Trigger
from kgrow.schedules.learning_rate import apply_policies

pytestmark = pytest.mark.compiles

WIDER, DEEPER = {"intermediate_dim": 9}, {"num_layers": 3}
START = {"hidden_dim": 4, "intermediate_dim": 6, "num_layers": 2}
TOTAL = 3 * STEPS


def schedule_of(*bounds, total=TOTAL, **arguments):
    """Wider behind the first bound, deeper behind the second."""
    return GrowthSchedule(
        [
            Stage(bounds[0], START),
            Stage(bounds[1], WIDER, "net2net", **arguments),
            Stage(total, DEEPER, "stack", learning_rate="reset"),
        ]
    )


def rate():
    return keras.optimizers.schedules.PolynomialDecay(1e-2, 2 * TOTAL, 1e-4)


# TensorFlow's compiler takes seconds for what is run a few times.
QUICK = {"jit_compile": False} if BACKEND == "tensorflow" else {}


def model_of(make=mlp, **sizes):
    # No dropout: on torch, Keras' `fit` itself draws from what it draws from.
    model = make(dropout=0.0, **sizes)
    return compiled(model, keras.optimizers.Adam(rate()), **QUICK)


def run(schedule, model=None, epochs=3, **arguments):
    model = model or model_of()
    callback = Growth(schedule, verbose=0)
    history = train(model, callbacks=[callback], epochs=epochs, **arguments)
    return model, history


def progress_of(model):
    return model.callback_state["growth"]


def steps_of(model):
    return [receipt.step for receipt in model.growth_history]


@pytest.mark.grid
@pytest.mark.parametrize("bounds", [(1, 2), (2, 6), (3, 4)])
def test_stages_begin_where_the_schedule_says(bounds):
    """The same as growing by hand between two calls of `fit`."""
    schedule = schedule_of(*bounds)
    model, history = run(schedule)
    assert steps_of(model) == list(bounds)
    assert int(model.optimizer.iterations) == TOTAL
    assert history.history["stage"][-1] == 3

    expected, done = model_of(), 0
    for index, until in enumerate((*bounds, TOTAL)):
        if index:
            stage = schedule.stages[index]
            expected.grow(stage.config, stage.strategy, seed=index)
        if index == 2:
            apply_policies.apply(expected, "reset", TOTAL)
        for step in range(done, until):
            # One batch an epoch, of those that each epoch goes through.
            train(expected, epochs=1, steps=1, offset=step % STEPS)
        done = until
    assert_same_state(model, expected)


@pytest.mark.parametrize("parts", [(2, 1), (1, 1, 1)])
def test_fit_called_again_goes_on(parts):
    schedule = schedule_of(2, STEPS + 1)
    once, _ = run(schedule)
    often = model_of()
    for epochs in parts:
        run(schedule, often, epochs=epochs)
    assert_same_state(once, often)
    events = progress_of(once)["events"]
    assert [(event["stage"], event["step"]) for event in events] == [
        (1, 0),
        (2, 2),
        (3, STEPS + 1),
    ]


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Saves after a number of batches, and then the process dies."""

    def __init__(self, path, after):
        super().__init__()
        self.path, self.left = path, after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            self.model.save_weights(self.path)
            raise Killed


@pytest.mark.grid
@pytest.mark.parametrize(
    "after, first", [(2, True), (3, True), (3, False), (5, False)]
)
def test_a_killed_run_is_resumed_to_the_bit(tmp_path, after, first):
    """At a growth, before and behind it, in either order of callbacks."""
    steps = 6
    schedule = schedule_of(3, 4, total=steps)
    whole, _ = run(schedule, epochs=1, steps=steps)

    path = tmp_path / "run.weights.h5"
    callbacks = [Kill(path, after), Growth(schedule, verbose=0)]
    callbacks = callbacks if first else callbacks[::-1]
    with pytest.raises(Killed):
        train(model_of(), callbacks=callbacks, epochs=1, steps=steps)

    resumed = model_of(seed=9)
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(path)
    run(schedule, resumed, epochs=1, steps=steps - after, offset=after)
    assert_same_state(whole, resumed)
    assert progress_of(resumed)["steps"] == steps


class Saver(keras.callbacks.Callback):
    """Keeps what a checkpoint would hold at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_epoch_end(self, epoch, logs=None):
        self.found.append(dict(self.model.callback_state["growth"]))


@pytest.mark.parametrize("first", [True, False])
def test_what_is_saved_does_not_depend_on_the_order_of_callbacks(first):
    saver, model = Saver(), model_of()
    callbacks = [saver, Growth(schedule_of(2, STEPS + 1), verbose=0)]
    callbacks = callbacks if first else callbacks[::-1]
    train(model, callbacks=callbacks, epochs=2)
    assert [(s["steps"], s["stage"]) for s in saver.found] == [(3, 1), (6, 2)]


def test_training_ends_where_the_last_stage_does():
    schedule = schedule_of(2, 3, total=4)
    model, history = run(schedule, epochs=50)
    assert int(model.optimizer.iterations) == 4
    assert len(history.epoch) == 2
    with pytest.raises(GrowthError, match="come to its end, at step 4"):
        run(schedule, model)
    # One that lasts longer goes on.
    run(schedule_of(2, 3, total=5), model)
    assert int(model.optimizer.iterations) == 5


@pytest.mark.each
@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on torch")
def test_several_steps_per_execution():
    schedule = schedule_of(2, 5, total=8)
    model = mlp(dropout=0.0)
    compiled(
        model, keras.optimizers.Adam(rate()), steps_per_execution=2, **QUICK
    )
    run(schedule, model, epochs=9)
    # Executions begin at 0, 2 and, in the next epoch, at 3, 5, 6, 8.
    assert steps_of(model) == [2, 5]
    assert progress_of(model)["steps"] == 8
    assert int(model.optimizer.iterations) == 8


def test_epochs_are_counted_over_all_fits():
    schedule = GrowthSchedule(
        [
            Stage(Epochs(1), START),
            Stage(Epochs(3), WIDER, "net2net"),
            Stage(Epochs(4), DEEPER, "stack"),
        ]
    )
    for parts in ([9], [1, 1, 9]):
        model = model_of()
        for epochs in parts:
            run(schedule, model, epochs=epochs)
        assert steps_of(model) == [STEPS, 3 * STEPS]
        assert int(model.optimizer.iterations) == 4 * STEPS


def test_an_epoch_that_was_broken_off_does_not_count():
    schedule = GrowthSchedule(
        [Stage(Epochs(1), START), Stage(Epochs(2), WIDER, "net2net")]
    )

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    model = model_of()
    train(model, callbacks=[Growth(schedule, verbose=0), Break()], epochs=1)
    run(schedule, model)
    assert steps_of(model) == [1 + STEPS]


def test_epochs_of_unknown_length():
    schedule = GrowthSchedule(
        [Stage(Epochs(1), START), Stage(Epochs(2), WIDER, "net2net")]
    )
    model = model_of()

    batches = (dense_batch(index) for index in range(STEPS))
    with warnings.catch_warnings(action="ignore"):
        model.fit(batches, verbose=0, callbacks=[Growth(schedule, verbose=0)])
    progress = progress_of(model)
    assert (progress["steps"], steps_of(model)) == (STEPS, [])
    run(schedule, model)
    # Not by the optimizer: TensorFlow's counts the batch that was not there.
    begins = [event["step"] for event in progress_of(model)["events"]]
    assert begins == [0, STEPS]
    assert progress_of(model)["steps"] == 2 * STEPS


def test_tokens():
    batch = BATCH * LENGTH
    schedule = GrowthSchedule(
        [
            Stage(Tokens(batch + 1), {"num_layers": 1}),
            Stage(Tokens(3 * batch), {"num_layers": 2}, "stack"),
        ]
    )
    model = compiled(gpt2(dropout=0.0))
    growth = Growth(schedule, tokens_per_batch=batch, verbose=0)
    train(model, callbacks=[growth], epochs=2)
    assert steps_of(model) == [2]
    assert int(model.optimizer.iterations) == 3
    with pytest.raises(GrowthError, match="tokens_per_batch"):
        run(schedule, compiled(gpt2()))


@keras.saving.register_keras_serializable("test")
class Record(Trigger):
    """Never fires, and remembers what it was shown."""

    def update(self, step, logs, seconds):
        for name, value in logs.items():
            self.state.setdefault(name, []).append([step, value])
        assert seconds > 0
        return False

    def decide(self, step, value, seconds):
        return False


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_trigger_is_shown_the_mean_since_the_last_time(every):
    """Not the epoch's mean, which Keras logs."""
    losses = []

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            mean = logs["loss"] * (batch + 1)
            losses.append(mean - sum(losses[len(losses) - batch :]))

    trigger = Record(every=every, at_most=20)
    schedule = GrowthSchedule(
        [Stage(2, START), Stage(trigger, WIDER, "net2net")]
    )
    model = model_of()
    callbacks = [Losses(), Growth(schedule, verbose=0)]
    train(model, callbacks=callbacks, epochs=2, steps=7)
    shown = progress_of(model)["trigger"]["loss"]
    expected, last = [], 2
    for step in range(3, 15):
        # At the end of an epoch in any case, and then again `every` later.
        if step - last >= every or step % 7 == 0:
            mean = np.mean(losses[max(last, step - (step - 1) % 7 - 1) : step])
            expected.append([step - 2, mean])
            last = step
    assert [s for s, _ in shown] == [s for s, _ in expected]
    for (_, found), (_, mean) in zip(shown, expected, strict=True):
        assert abs(found - mean) <= 1e-4 * abs(mean)


def test_validation_is_watched_at_the_end_of_epochs():
    trigger = Record(monitor="val_loss", every=1, at_most=20)
    schedule = GrowthSchedule(
        [Stage(1, START), Stage(trigger, WIDER, "net2net")]
    )
    model = model_of()
    history = train(
        model,
        callbacks=[Growth(schedule, verbose=0)],
        validation_data=dense_batch(9),
    )
    shown = progress_of(model)["trigger"]["val_loss"]
    losses = history.history["val_loss"]
    assert shown == [[STEPS - 1, losses[0]], [2 * STEPS - 1, losses[1]]]
    with pytest.warns(UserWarning, match="Stage 2 watches 'val_loss'"):
        run(schedule, model, epochs=1)


@keras.saving.register_keras_serializable("test")
class Once(Trigger):
    """Fires when it is first shown something."""

    def decide(self, step, value, seconds):
        return True


@pytest.mark.parametrize(
    "trigger, begin",
    [
        (Once(every=1), 2),  # shown batch 1 when batch 2 begins
        (Once(every=2), 3),
        (Once(every=9), STEPS),  # at the end of the epoch
        (Once(every=1, at_least=4), 5),
        (Once(every=9, at_most=2), 2),
    ],
)
def test_the_stage_ends_with_the_batch_that_begins(trigger, begin):
    last = Record(every=99, at_most=2)
    schedule = GrowthSchedule(
        [Stage(trigger, START), Stage(last, WIDER, "net2net")]
    )
    model, _ = run(schedule)
    assert steps_of(model) == [begin]
    assert progress_of(model)["steps"] == begin + 2


def test_a_metric_that_is_not_logged():
    def schedule(monitor):
        return GrowthSchedule([Stage(Once(monitor=monitor), START)])

    model = mlp(dropout=0.0)
    compiled(model, metrics=["mae"], **QUICK)
    with pytest.raises(GrowthError, match="There are: loss, mae, and"):
        run(schedule("accuracy"), model)
    assert not int(model.optimizer.iterations)
    for monitor in ("mae", "val_mae"):
        run(schedule(monitor), model, epochs=0)


def test_what_a_stage_may_change_besides_sizes():
    model = model_of()
    schedule = GrowthSchedule(
        [
            Stage(1, START, dropout=0.2),
            Stage(2, {"num_layers": 3}, "llama_pro"),
            Stage(3, trainable="all"),
            Stage(4, training_options={"dropout": 0.1}, learning_rate="reset"),
        ]
    )
    trained, treated = [], []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            treated.append(self.model.training_options["dropout"])
            trained.append(len(self.model.trainable_variables))

    train(model, callbacks=[Growth(schedule, verbose=0), Look()])
    assert treated == [0.2, 0.2, 0.2, 0.1]
    assert trained[1] < trained[0] < trained[2] == trained[3]
    assert model.callback_state["learning_rate"]["events"][0]["step"] == 3


def test_stages_are_announced(capsys):
    schedule = schedule_of(1, 2, total=3, seed=4)
    model = model_of()
    train(model, callbacks=[Growth(schedule)], epochs=1)
    lines = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("kgrow: stage")
    ]
    assert len(lines) == 2
    assert (
        "stage 2 of 3 from step 1: intermediate_dim 6 to 9 by net2net"
        in (lines[0])
    )
    assert "function kept" in lines[0] and "parameters" in lines[0]
    assert "learning rate reset" in lines[1]
    assert [r.seed for r in model.growth_history] == [4, 2]


def test_another_schedule_on_a_model_that_has_run_one():
    model, _ = run(schedule_of(2, 3, total=4))
    other = GrowthSchedule([Stage(9, {"num_layers": 3})])
    with pytest.raises(GrowthError, match="of another schedule"):
        run(other, model)
    model.callback_state.pop("growth")
    run(other, model)
    assert progress_of(model)["steps"] == 9


def test_gates_open_over_stages():
    """The default strategy: growths may follow each other within a ramp."""
    schedule = GrowthSchedule(
        [
            Stage(2, START),
            Stage(4, WIDER, ramp=3),
            Stage(9, DEEPER, ramp=2),
        ]
    )
    model = model_of()
    with pytest.warns(UserWarning, match="the last 1 are still to come"):
        run(schedule, model)
    assert steps_of(model) == [2, 4]
    assert all(receipt.exact for receipt in model.growth_history)
    assert not model.active_gates
