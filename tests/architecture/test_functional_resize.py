"""Networks of one's own: layers, subclasses and KerasHub, made again larger."""

import keras
import numpy as np
import pytest
from helpers.toy import array, give_zeros, randomize, relative_difference
from keras import layers

from kgrow import AxisMap, BlockStack, Dim, GrowableModel, GrowthError
from kgrow.backend.lazy_variables import without_values
from kgrow.models.transformer import BLOCK_RULES, block_dims

pytestmark = pytest.mark.compiles


def dense():
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(6, activation="relu", name="inner"),
            layers.LayerNormalization(name="norm"),
            layers.Dense(3, name="outer"),
        ]
    )


DENSE = {
    "inner/kernel": "_ -> units",
    "inner/bias": "-> units",
    "norm/gamma": "-> units | scale",
    "norm/beta": "-> units",
    "outer/kernel": "units -> _",
    "outer/bias": "-> _",
}


def text():
    """Embedding, attention and an EinsumDense, as a Functional model."""
    ids = keras.Input((4,), dtype="int32")
    x = layers.Embedding(9, 6, name="tokens")(ids)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    shape = (None, 7)
    x = layers.EinsumDense("btd,df->btf", shape, bias_axes="f", name="mix")(x)
    return keras.Model(ids, layers.Dense(2, name="outer")(x))


TEXT = {
    "tokens/embeddings": "vocab -> hidden",
    "attention/query/kernel": "hidden -> heads qk | qk^0.5",
    "attention/query/bias": "-> heads qk | qk^0.5",
    "attention/key/kernel": "hidden -> heads ~qk",
    "attention/key/bias": "-> heads ~qk",
    "attention/value/kernel": "hidden -> heads value",
    "attention/value/bias": "-> heads value",
    "attention/attention_output/kernel": "heads value -> hidden",
    "attention/attention_output/bias": "-> hidden",
    "mix/kernel": "hidden -> ffn",
    "mix/bias": "-> ffn",
    "outer/kernel": "ffn -> _",
    "outer/bias": "-> _",
}


def image():
    """Convolutions, a batch norm, and channels flattened into features."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(3, 3, padding="same", name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Conv2D(5, 2, strides=2, name="second"),
            layers.Flatten(),
            layers.Dense(4, name="outer"),
        ]
    )


IMAGE = {
    "first/kernel": "_ _ _ -> channels",
    "first/bias": "-> channels",
    "norm/(gamma|moving_variance)": "-> channels | scale",
    "norm/(beta|moving_mean)": "-> channels",
    "second/kernel": "_ _ channels -> features",
    "second/bias": "-> features",
    "outer/kernel": "(4 features) -> _",
    "outer/bias": "-> _",
}
HEAD = [Dim(name, "head_dim", kind="stream") for name in ("qk", "value")]
NETWORKS = {
    "dense": (dense, AxisMap(DENSE)),
    "text": (text, AxisMap(TEXT, [*HEAD, Dim("vocab", kind="lookup")])),
    # A batch norm's statistics are per channel, none are taken along them.
    "image": (image, AxisMap(IMAGE, [Dim("channels", norm=None)])),
}
INPUTS = {
    "dense": np.random.default_rng(0).standard_normal((3, 5)),
    "text": np.random.default_rng(0).integers(0, 9, (3, 4)),
    "image": np.random.default_rng(0).standard_normal((3, 4, 4, 2)),
}


def growable(name):
    make, axes = NETWORKS[name]
    with without_values():
        network = make()
    return randomize(GrowableModel(give_zeros(network), axes))


CASES = [
    (name, field)
    for name, (_, axes) in NETWORKS.items()
    for field in axes.fields
]


@pytest.mark.parametrize("name, field", CASES)
def test_each_width_of_plain_layers_grows(name, field):
    model = growable(name)
    before = array(model(INPUTS[name]))
    config = {**model.growth_config}
    target = {field: 2 * config[field]}
    receipt = model.grow(target, seed=0, probe=INPUTS[name])
    assert receipt.exact and model.growth_config == {**config, **target}
    after = array(model(INPUTS[name]))
    assert relative_difference(after, before) <= receipt.tolerance


@pytest.mark.each
@pytest.mark.parametrize("name", NETWORKS)
def test_all_widths_of_plain_layers_grow_at_once(name):
    model = growable(name)
    before = array(model(INPUTS[name]))
    target = {field: 3 * size for field, size in model.growth_config.items()}
    receipt = model.grow(target, seed=0)
    assert model.growth_config == target and receipt.exact
    after = array(model(INPUTS[name]))
    assert relative_difference(after, before) <= receipt.tolerance


@pytest.mark.parametrize("name", NETWORKS)
def test_all_that_is_no_size_stays(name):
    model = growable(name)
    old = {layer.name: layer.get_config() for layer in model.network.layers}
    target = {field: 2 * size for field, size in model.growth_config.items()}
    model.grow(target, seed=0)
    sizes = {"units", "filters", "input_dim", "output_dim", "num_heads"}
    sizes |= {"key_dim", "value_dim", "output_shape"}
    new = {layer.name: layer.get_config() for layer in model.network.layers}
    assert list(new) == list(old)
    for layer, config in old.items():
        for key in set(config) - sizes:
            assert new[layer][key] == config[key], (layer, key)


def test_a_grown_network_grows_again():
    model = growable("text")
    once = growable("text")
    model.grow({"heads": 4}, seed=0)
    model.grow({"heads": 8, "hidden": 12}, seed=1)
    once.grow({"heads": 8, "hidden": 12}, seed=1)
    shapes = [w.shape for w in once.weights]
    assert [w.shape for w in model.weights] == shapes
    assert len(model.growth_history) == 2


# --- networks that have their sizes as fields --------------------------------


@keras.saving.register_keras_serializable("tests")
class Called(keras.Model):
    """A user's own model; its weights come when it is first called."""

    def __init__(self, width, depth, **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth = width, depth
        self.entry = layers.Dense(width, name="entry")
        self.blocks = [
            layers.Dense(width, activation="tanh", name=f"block_{i}")
            for i in range(depth)
        ]
        self.exit = layers.Dense(2, name="exit")

    def call(self, x):
        x = self.entry(x)
        for block in self.blocks:
            x = x + block(x)
        return self.exit(x)

    def get_config(self):
        config = {"width": self.width, "depth": self.depth}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("tests")
class Built(Called):
    """The same with a `build()` of its own."""

    def build(self, input_shape):
        self.entry.build(input_shape)
        for block in self.blocks:
            block.build((None, self.width))
        self.exit.build((None, self.width))


TOWER = AxisMap(
    {
        "entry/kernel": "_ -> width",
        "entry/bias": "-> width",
        "block_{depth}/kernel": "width -> width | residual_out",
        "block_{depth}/bias": "-> width | residual_out",
        "exit/kernel": "width -> _",
        "exit/bias": "-> _",
    },
    stacks=[BlockStack("depth", norm="pre")],
)


@pytest.mark.parametrize("cls", [Built, Called])
@pytest.mark.parametrize(
    "target", [{"width": 7}, {"depth": 5}, {"width": 8, "depth": 3}], ids=str
)
def test_a_subclass_grows_by_its_config(cls, target):
    x = INPUTS["dense"].astype("float32")
    network = cls(4, 2)
    network(x) if cls is Called else network.build(x.shape)
    model = randomize(GrowableModel(network, TOWER))
    before = array(model(x))
    receipt = model.grow(target, seed=0, probe=x)
    assert receipt.exact and type(model.network) is cls
    assert model.growth_config == {"width": 4, "depth": 2, **target}
    assert relative_difference(array(model(x)), before) <= receipt.tolerance


def hub(**config):
    keras_hub = pytest.importorskip("keras_hub")
    sizes = dict(vocabulary_size=11, num_layers=2, num_heads=2, hidden_dim=6)
    sizes |= dict(intermediate_dim=10, max_sequence_length=5, dropout=0.0)
    with without_values():
        backbone = keras_hub.models.GPT2Backbone(**{**sizes, **config})
    axes = AxisMap(
        {
            "token_embedding/embeddings": "vocab -> hidden",
            "position_embedding/embeddings": "positions -> hidden",
            **BLOCK_RULES,
            "layer_norm/gamma": "-> hidden | scale",
            "layer_norm/beta": "-> hidden",
        },
        dims=block_dims(hidden="stream"),
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ _ -> hidden",
    )
    return randomize(GrowableModel(give_zeros(backbone), axes))


@pytest.mark.parametrize(
    "target",
    [
        {"intermediate_dim": 15},
        {"num_layers": 3},
        {"vocabulary_size": 13, "max_sequence_length": 7},
        {"intermediate_dim": 13, "num_layers": 3},
    ],
    ids=str,
)
def test_a_backbone_of_keras_hub_grows(target):
    model = hub()
    receipt = model.grow(target, seed=0)
    assert receipt.exact and receipt.relative_diff <= receipt.tolerance
    config = model.network.get_config()
    assert {field: config[field] for field in target} == target


def test_a_backbone_with_a_tied_head_is_not_widened_without_it():
    """The head is outside: its logits would not be kept, and its task is."""
    model = hub()
    before = model.growth_config
    with pytest.raises(GrowthError, match=r"Grow the task \(`GPT2CausalLM`\)"):
        model.grow({"hidden_dim": 12, "num_heads": 4}, seed=0)
    assert model.growth_config == before


def test_a_backbone_whose_fields_disagree_is_refused():
    """There, the size of a head is the width divided by the heads."""
    message = "asked for head_dim=3 and came out with 6"
    with pytest.raises(GrowthError, match=message):
        hub().grow({"hidden_dim": 12})


# --- what cannot be made again -----------------------------------------------


@pytest.mark.parametrize("old, new", [(7, 29), (11, 15)])
def test_sizes_are_rational_numbers_and_not_floats(old, new):
    """In floating point, `new / old * old` is not `new`."""
    assert new / old * old != new
    with without_values():
        network = keras.Sequential(
            [keras.Input((1,)), layers.Dense(old, name="a")]
        )
    axes = {"a/kernel": "_ -> units", "a/bias": "-> units"}
    model = GrowableModel(give_zeros(network), axes)
    assert model.architecture.build({"units": new})[1].sizes == {"units": new}


def test_a_sequence_of_layers_has_no_recipe_for_another_block():
    blocks = [keras.Input((3,))]
    blocks += [layers.Dense(3, name=f"block_{i}") for i in range(2)]
    rules = {"block_{n}/kernel": "_ -> _", "block_{n}/bias": "-> _"}
    model = GrowableModel(keras.Sequential(blocks), rules)
    with pytest.raises(GrowthError, match="no recipe for another block"):
        model.grow({"n": 3}, "stack")
    assert model.grow({"n": 2}, "stack").exact


@keras.saving.register_keras_serializable("tests")
class Deaf(Built):
    """Has the width as a field, and does not listen to it."""

    def __init__(self, width, depth, **kwargs):
        super().__init__(4, depth, **kwargs)


def test_a_network_that_ignores_its_config_is_refused():
    network = Deaf(4, 2)
    network.build((None, 5))
    model = GrowableModel(network, TOWER)
    with pytest.raises(GrowthError, match="width=8 and came out with 4"):
        model.grow({"width": 8})


@keras.saving.register_keras_serializable("tests")
class Picky(Built):
    def __init__(self, width, depth, **kwargs):
        if width % 4:
            raise ValueError("four at a time")
        super().__init__(width, depth, **kwargs)


def test_what_the_network_itself_refuses_is_told():
    network = Picky(4, 2)
    network.build((None, 5))
    model = GrowableModel(network, TOWER)
    with pytest.raises(GrowthError, match="'width': 6.* four at a time"):
        model.grow({"width": 6})


def test_a_size_may_be_one_of_several_in_a_field():
    with without_values():
        network = keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Conv2D(2, (3, 3), name="a")]
        )
    axes = {"a/kernel": "rows _ _ -> _", "a/bias": "-> _"}
    model = GrowableModel(give_zeros(network), axes)
    _, spec = model.architecture.build({"rows": 5})
    assert spec.variables["a/kernel"].shape == (5, 3, 1, 2)


def test_one_field_for_two_sizes_grows_them_alike():
    with without_values():
        network = keras.Sequential(
            [keras.Input((2,)), layers.Dense(6, name="a")]
        )
    axes = {"a/kernel": "_ -> (2 units)", "a/bias": "-> (3 other)"}
    model = GrowableModel(give_zeros(network), axes)
    with pytest.raises(GrowthError, match="by different ratios: 1, 2"):
        model.architecture.build({"units": 6, "other": 2})
    _, spec = model.architecture.build({"units": 6, "other": 4})
    assert spec.variables["a/kernel"].shape == (2, 12)
