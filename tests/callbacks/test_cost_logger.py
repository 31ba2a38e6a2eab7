"""What `kgrow.callbacks.Ledger` books, and what it writes."""

import json

import keras
import numpy as np
import pytest

import kgrow
from kgrow.algebra.errors import GrowthError
from kgrow.analysis.ledger import CostRecord as Book
from kgrow.analysis.ledger import StageCost as BookStage
from kgrow.analysis.run_log import Run, RunFile
from kgrow.backend.flops import forward_flops, training_flops
from kgrow.callbacks import Growth, Ledger
from kgrow.schedules import GrowthSchedule, Stage

pytestmark = pytest.mark.compiles

X = np.random.default_rng(0).standard_normal((12, 2)).astype("float32")
Y = X[:, :1]
SIZES = dict(input_dim=2, output_dim=1, hidden_dim=4, intermediate_dim=8)


def _model(num_layers=1, **options):
    model = kgrow.models.MLP(num_layers=num_layers, **SIZES)
    rate = keras.optimizers.schedules.PolynomialDecay(1e-2, 9, 0.0)
    model.compile(keras.optimizers.SGD(rate), "mse", **options)
    return model


def _flops(num_layers, examples=1):
    model = kgrow.models.MLP(num_layers=num_layers, **SIZES)
    return training_flops(model, (examples, 2))


def _schedule():
    """Grows before the fifth batch of nine, the second of an epoch of three."""
    return GrowthSchedule(
        [Stage(4, {"num_layers": 1}), Stage(9, {"num_layers": 2}, "direct")]
    )


def _fit(model, costs, epochs=3, growth=True, first=False, **options):
    others = [Growth(_schedule(), verbose=0)] if growth else []
    callbacks = [*others, costs] if first else [costs, *others]
    return model.fit(
        X,
        Y,
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, *options.pop("more", ())],
        **options,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One run that grows, from its beginning to its end: path, callback and
    history."""
    keras.utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("runs") / "whole.jsonl"
    costs = Ledger(path, source="scratch", name="grown")
    history = _fit(_model(), costs, validation_data=(X, Y))
    return path, costs, history.history


@pytest.mark.each
def test_flops_and_tokens_are_those_of_the_steps(whole):
    _, costs, history = whole
    small, large = _flops(1), _flops(2)
    stages = costs.ledger.stages
    assert [stage.steps for stage in stages] == [4, 5]
    assert [stage.tokens for stage in stages] == [16, 20]
    assert [stage.flops for stage in stages] == [16 * small, 20 * large]
    assert history["flops"] == [
        12 * small,
        16 * small + 8 * large,
        16 * small + 20 * large,
    ]
    assert history["tokens"] == [12, 24, 36]


def test_seconds_are_told_apart(whole):
    _, costs, history = whole
    first, second = costs.ledger.stages
    assert first.growing_seconds == 0 < second.growing_seconds
    for stage in (first, second):
        apart = stage.growing_seconds + stage.compiling_seconds
        assert 0 < stage.compiling_seconds
        assert apart <= stage.seconds
    assert history["seconds"] == sorted(history["seconds"])
    assert history["seconds"][-1] == costs.ledger.total("seconds")


def test_file_says_what_the_callback_does(whole):
    path, costs, history = whole
    run = Run.load(path)
    assert (run.name, run.seed, run.source) == ("grown", 5, "scratch")
    assert run.finished and run.ledger.stages == costs.ledger.stages
    assert [r["step"] for r in run.readings] == [3, 6, 9]
    assert [value for _, value in run.values("val_loss")] == pytest.approx(
        history["val_loss"]
    )
    (growth,) = run.growths
    assert growth["step"] == 4 and growth["flops"] == 16 * _flops(1)
    assert growth["label"] == "num_layers 1 to 2"
    assert run.peak_learning_rate == pytest.approx(1e-2)
    assert run.rate_left == pytest.approx(0, abs=1e-6)
    curve = run.curve()
    assert list(curve.flops) == history["flops"]
    assert list(curve.tokens) == history["tokens"]
    assert curve.events == [(growth["flops"], growth["label"])]


def test_metric_without_readings_is_refused(whole):
    with pytest.raises(GrowthError, match="There are: .*val_loss"):
        Run.load(whole[0]).values("val_accuracy")


def _without_seconds(path):
    """The file's events, what the clock says left out."""
    found = []
    for line in RunFile(path).lines():
        kept = {
            k: v
            for k, v in line.items()
            if not k.endswith("seconds")
            and k not in ("name", "stages", "receipt")
        }
        if "logs" in kept:
            kept["logs"] = {
                k: pytest.approx(v, rel=1e-4)
                for k, v in kept["logs"].items()
                if k != "seconds"
            }
        found.append(kept)
    return found


def test_run_goes_on_counting_from_a_file(whole, tmp_path):
    """Killed in the third epoch, with weights of the end of the second."""
    keras.utils.set_random_seed(5)
    path, weights = tmp_path / "run.jsonl", tmp_path / "m.weights.h5"

    class Kill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.save_weights(weights)
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fit(
            _model(),
            Ledger(path, source="scratch"),
            more=[Kill()],
            validation_data=(X, Y),
        )
    assert [x.get("step") for x in RunFile(path).lines()] == [None, 3, 4, 6, 9]

    model = _model()
    model.load_weights(weights)
    _fit(
        model,
        Ledger(path, source="scratch"),
        initial_epoch=2,
        validation_data=(X, Y),
    )
    assert _without_seconds(path) == _without_seconds(whole[0])


def test_finished_run_is_not_overwritten(whole, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(whole[0].read_bytes())
    with pytest.raises(GrowthError, match="came to its end"):
        _fit(_model(), Ledger(path, source="scratch"), growth=False)
    assert path.read_bytes() == whole[0].read_bytes()


def test_run_that_was_killed_before_it_saved_begins_anew(tmp_path):
    file = RunFile(tmp_path / "run.jsonl")
    file.begin({"name": "a", "seed": 0, "source": "scratch"}, 0, 0)
    file.append("reading", step=3)
    with file.path.open("a") as handle:
        handle.write('{"kind": "read')  # cut off
    assert len(file.lines()) == 2
    file.begin({"name": "b", "seed": 0, "source": "scratch"}, 0, 0)
    assert [line["name"] for line in file.lines()] == ["b"]


def test_other_files_are_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    for text in ("some notes\n", '{"a": 1}\n'):
        path.write_text(text)
        with pytest.raises(GrowthError, match="no record of a run"):
            RunFile(path).begin({}, 0, 0)
        assert path.read_text() == text


class TestStepsOfOneSize:
    """Without a growth, so that one program is compiled."""

    def _costs(self, **options):
        costs = Ledger(source="scratch")
        model = _model(**options)
        return model, costs

    def test_smaller_last_batch(self):
        model, costs = self._costs()
        model.fit(
            X[:10], Y[:10], batch_size=4, epochs=2, verbose=0, callbacks=[costs]
        )
        assert costs.ledger.total("flops") == 20 * _flops(1)
        assert costs.ledger.total("tokens") == 20
        assert costs.ledger.total("steps") == 6

    def test_model_is_left_as_it_was(self):
        model, costs = self._costs()
        _fit(model, costs, epochs=1, growth=False)
        assert "make_train_function" not in vars(model)
        function = model.train_function
        # Without the callback nothing is booked; with it, on it goes, and no
        # program is compiled for it.
        model.fit(X, Y, batch_size=4, verbose=0)
        _fit(model, costs, epochs=1, growth=False)
        assert model.train_function is function
        assert costs.ledger.total("steps") == 6

    def test_fit_that_failed_leaves_no_tap(self):
        model, costs = self._costs()

        class Fail(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise RuntimeError

        with pytest.raises(RuntimeError):
            _fit(model, costs, growth=False, more=[Fail()])
        _fit(model, costs, epochs=1, growth=False)
        assert costs.ledger.total("steps") == 6
        assert costs.ledger.total("flops") == 24 * _flops(1)
        assert "make_train_function" not in vars(model)

    def test_no_step_asks_the_device(self, monkeypatch):
        """As many values are fetched in an epoch of 12 steps as in one of
        3."""
        model, costs = self._costs()
        _fit(model, costs, epochs=1, growth=False)
        asked = []
        fetch = keras.ops.convert_to_numpy

        def counting(x):
            asked.append(x)
            return fetch(x)

        monkeypatch.setattr(keras.ops, "convert_to_numpy", counting)
        numbers = []
        for size in (4, 1):
            asked.clear()
            model.fit(X, Y, batch_size=size, verbose=0, callbacks=[costs])
            numbers.append(len(asked))
        assert numbers[0] == numbers[1]

    @pytest.mark.skipif(
        keras.backend.backend() == "torch", reason="one step an execution"
    )
    def test_several_steps_in_one_execution(self):
        model, costs = self._costs(steps_per_execution=2)
        _fit(model, costs, epochs=2, growth=False)
        assert costs.ledger.total("steps") == 6
        assert costs.ledger.total("flops") == 24 * _flops(1)


@pytest.mark.compiles
def test_order_of_callbacks_does_not_matter(whole):
    costs = Ledger(source="scratch")
    _fit(_model(), costs, first=True)
    booked = [(s.steps, s.flops, s.tokens) for s in costs.ledger.stages]
    assert booked == [
        (s.steps, s.flops, s.tokens) for s in whole[1].ledger.stages
    ]


@pytest.mark.compiles
def test_growth_between_two_fits_is_booked(whole):
    costs = Ledger(source="scratch")
    model = _model()
    _fit(model, costs, epochs=1, growth=False)
    model.grow({"num_layers": 2}, "direct")
    _fit(model, costs, epochs=1, growth=False)
    first, second = costs.ledger.stages
    assert (first.steps, second.steps) == (3, 3)
    assert second.growing_seconds == model.growth_history[0].seconds
    assert second.flops == 12 * _flops(2)


@pytest.mark.compiles
def test_tokens_are_counted_in_sequences():
    model = kgrow.models.GPT2(
        vocabulary_size=8,
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
        max_sequence_length=5,
        dropout=0.0,
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    costs = Ledger(source="unknown")
    ids = np.zeros((6, 5), "int32")
    model.fit(ids, ids, batch_size=3, verbose=0, callbacks=[costs])
    assert costs.ledger.total("tokens") == 30
    assert costs.ledger.total("flops") == training_flops(model, (6, 5), "int32")


@pytest.mark.compiles
def test_fitting_an_operator_is_booked():
    costs = Ledger(source="scratch")
    model = _model()
    _fit(model, costs, epochs=1, growth=False)
    ligo = kgrow.strategies.LiGO(steps=7, batch_size=4, verbose=0)
    model.grow({"hidden_dim": 6, "num_layers": 2}, ligo, data=(X, Y))
    _fit(model, costs, epochs=1, growth=False)
    stage = costs.ledger.stages[1]
    step = stage.flops - stage.fitting_flops
    # Each of the operator's steps computes with the large network, and makes
    # its weights besides.
    assert stage.fitting_flops > 7 * step / 3
    assert stage.fitting_seconds > 0 < stage.growing_seconds
    learned = model.growth_history[0].learned
    assert stage.fitting_flops == learned["flops"]


def test_a_growth_right_before_the_run_is_booked(tmp_path):
    small = _model()
    small.grow({"num_layers": 2}, "direct")
    small.fit(X, Y, batch_size=4, verbose=0)
    small.grow({"num_layers": 3}, "direct")
    path = tmp_path / "run.jsonl"
    costs = Ledger(path, source="unknown")
    _fit(small, costs, epochs=1, growth=False)
    # The first growth is a part of what the model had cost before.
    last = small.growth_history[-1]
    (stage,) = costs.ledger.stages
    assert stage.growing_seconds == last.seconds <= stage.seconds
    (growth,) = Run.load(path).growths
    assert growth["step"] == 0 and growth["receipt"] == last.to_dict()


@pytest.mark.compiles
def test_an_operator_fitted_right_before_the_run_is_booked():
    model = _model()
    ligo = kgrow.strategies.LiGO(steps=7, batch_size=4, verbose=0)
    model.grow({"hidden_dim": 6, "num_layers": 2}, ligo, data=(X, Y))
    costs = Ledger(source="unknown")
    _fit(model, costs, epochs=1, growth=False)
    (stage,) = costs.ledger.stages
    learned = model.growth_history[0].learned
    assert stage.fitting_flops == learned["flops"] < stage.flops
    assert stage.fitting_seconds == learned["seconds"] <= stage.seconds


@pytest.mark.compiles
def test_a_teacher_is_paid():
    costs = Ledger(source="scratch")
    model = _model()
    teacher = forward_flops(model, (1, 2))
    _fit(model, costs, epochs=1, growth=False)
    model.grow({"num_layers": 2}, "ki")
    _fit(model, costs, epochs=1, growth=False)
    assert costs.ledger.stages[1].flops == 12 * (_flops(2) + teacher)


def test_source_is_asked_for():
    with pytest.raises(TypeError, match="source"):
        Ledger()
    for wrong in (None, 0, {}):
        with pytest.raises(GrowthError, match="`source` says"):
            Ledger(source=wrong)
    with pytest.raises(GrowthError, match="no file"):
        Ledger(source="runs/there_is_none.jsonl")


def test_trained_model_is_no_start_from_scratch():
    model = _model()
    model.grow({"num_layers": 2}, "direct")
    with pytest.raises(GrowthError, match="grown 1 times"):
        _fit(model, Ledger(source="scratch"), growth=False)


def test_source_may_be_a_ledger_or_a_file(whole, tmp_path):
    book = Book("small", [BookStage("small", flops=5, seconds=2)])
    assert Ledger(source=book).source == book
    path = tmp_path / "small.json"
    path.write_text(book.to_json())
    assert Ledger(source=path).source == book
    chained = Ledger(source=whole[0]).source
    assert chained.total("flops") == whole[1].ledger.total("flops")


def test_unknown_source_stays_unknown(tmp_path):
    path = tmp_path / "run.jsonl"
    header = {"kind": "run", "name": "a", "seed": 0, "source": "unknown"}
    path.write_text(json.dumps(header) + "\n")
    assert Run.load(path).source_cost("flops") is None
    with pytest.raises(GrowthError, match="nobody knows"):
        Ledger(source=path)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs TensorFlow"
)
def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    costs = Ledger(source="scratch", tensorboard=tmp_path)
    _fit(_model(), costs, epochs=2, growth=False)
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    import tensorflow as tf

    events = board.Tensors("ledger/flops")
    assert [event.step for event in events] == [3, 6]
    values = [float(tf.make_ndarray(e.tensor_proto)) for e in events]
    assert values == [12 * _flops(1), 24 * _flops(1)]
    assert board.Tensors("epoch/loss")


@pytest.mark.each
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="replicas of TensorFlow"
)
@pytest.mark.parametrize("sizes, whole", [((4, 2), 6), ((None, None), None)])
def test_a_batch_is_that_of_all_replicas(sizes, whole):
    import tensorflow as tf
    from tensorflow.python.distribute.values import PerReplicaSpec

    from kgrow import backend

    class Iterator:
        element_spec = (
            PerReplicaSpec(*(tf.TensorSpec((n, 3)) for n in sizes)),
            tf.TensorSpec((6, 1)),
        )

    of_replicas, of_one = backend.batch_specs(Iterator())
    assert of_replicas == tf.TensorSpec((whole, 3))
    assert of_one == tf.TensorSpec((6, 1))
