"""Five stages over all four dimensions in one `fit`, on real text."""

import keras
import numpy as np
import pytest
from helpers.toy import array, assert_close, assert_same, outputs

import kgrow
from kgrow.algebra import tolerance
from kgrow.callbacks import Growth
from kgrow.datasets.text.masked_corpus import MASK, MaskedByteDataset
from kgrow.datasets.text.stdlib_corpus import VOCABULARY_SIZE, ByteDataset
from kgrow.schedules import Constant, GrowthSchedule, Rewarm, Stage
from kgrow.strategies import MSG

pytestmark = [
    pytest.mark.compiles,
    pytest.mark.filterwarnings("ignore:The ramp of stage 3 takes 5"),
]

LENGTH, BATCH, STEPS = 16, 4, 3
SIZES = dict(
    hidden_dim=8, intermediate_dim=12, num_heads=2, head_dim=4, num_layers=1
)
# One dimension a stage; ramps of which two overlap with the next stage.
GROWTHS = [
    {"intermediate_dim": 21},
    {"num_layers": 2},
    {"hidden_dim": 13},
    {"num_heads": 3},
]
FAMILIES = [
    "GPT2",
    "BERT",
]


def schedule():
    ramps = [STEPS, STEPS + 2, STEPS, STEPS - 1]
    stages = [Stage(STEPS, SIZES)]
    for number, (config, ramp) in enumerate(zip(GROWTHS, ramps, strict=True)):
        stages.append(
            Stage(
                (number + 2) * STEPS,
                config,
                MSG(ramp, initializer="layer"),
                learning_rate=Rewarm(2) if number == 1 else None,
            )
        )
    return GrowthSchedule(stages)


def make(family):
    keras.utils.set_random_seed(0)
    vocabulary = VOCABULARY_SIZE if family == "GPT2" else MASK + 1
    model = getattr(kgrow.models, family)(
        vocabulary_size=vocabulary,
        max_sequence_length=LENGTH,
        dropout=0.0,
        **SIZES,
    )
    model.compile(
        keras.optimizers.Adam(Constant(3e-3)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def text(family, first=0):
    cls = ByteDataset if family == "GPT2" else MaskedByteDataset
    return cls("train", LENGTH, BATCH, first=first)


@pytest.fixture(scope="module")
def trained():
    """Each family's model after the whole schedule, trained once."""
    models = {}

    def get(family):
        if family not in models:
            model, data = make(family), text(family)
            fit(model, data, 5 * STEPS, data=data[0])
            models[family] = model
        return models[family]

    return get


def fit(model, dataset, steps, **options):
    model.fit(
        dataset,
        steps_per_epoch=steps,
        epochs=1,
        shuffle=False,
        verbose=0,
        callbacks=[Growth(schedule(), verbose=0, **options)],
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_no_event_makes_the_loss_jump(trained, family):
    model = trained(family)
    history = model.growth_history
    assert [receipt.step for receipt in history] == [3, 6, 9, 12]
    bound = tolerance("float32", 64, 16)
    for receipt in history:
        assert receipt.exact
        difference = abs(receipt.loss_after - receipt.loss_before)
        assert difference <= bound * receipt.loss_before
    sizes = dict(SIZES)
    for config in GROWTHS:
        sizes.update(config)
    assert sizes.items() <= model.growth_config.items()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_model_is_left(trained, family):
    model = trained(family)
    inputs, _ = text(family)[7]
    before = outputs(model.network, inputs)
    plain = model.strip()
    assert model.active_gates == []
    twin = type(plain).from_config({**plain.get_config(), "name": "network"})
    assert [w.path for w in twin.weights] == [w.path for w in plain.weights]
    twin.set_weights(plain.get_weights())
    assert_close(outputs(twin, inputs), before, "float32")


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stop", [4, 7])
def test_it_goes_on_from_any_step(trained, tmp_path, family, stop):
    """From the middle of a ramp, and of two at once."""
    whole = trained(family)
    part, path = make(family), tmp_path / "part.weights.h5"
    fit(part, text(family), stop)
    assert part.active_gates
    part.save_weights(path)
    resumed = make(family)
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(path)
    fit(resumed, text(family, first=stop), 5 * STEPS - stop)
    assert resumed.active_gates == []
    for one, other in zip(
        whole.network.weights, resumed.network.weights, strict=True
    ):
        assert_same(array(one), array(other))


def test_text_is_masked_as_bert_has_it():
    data = MaskedByteDataset("train", 64, 200)
    (x, y), (plain, _) = data[3], ByteDataset("train", 64, 200)[3]
    places = x["masked_positions"]
    assert places.shape == y.shape == (200, 10)
    assert (np.diff(places, axis=1) > 0).all()
    assert_same(np.take_along_axis(plain, places, axis=1), y)
    shown = np.take_along_axis(x["token_ids"], places, axis=1)
    assert 0.77 < (shown == MASK).mean() < 0.83
    assert 0.08 < (shown == y).mean() < 0.13
    untouched = np.ones(plain.shape, bool)
    np.put_along_axis(untouched, places, False, axis=1)
    assert_same(x["token_ids"][untouched], plain[untouched])
