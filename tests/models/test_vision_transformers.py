"""ViT, DeiT and CaiT: what they compute, and how they grow."""

import json
import re

import keras
import numpy as np
import pytest
from helpers.toy import (
    array,
    assert_close,
    give_zeros,
    grow_offline,
    outputs,
    randomize,
    relative_difference,
)
from keras import ops

from kgrow import GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.architecture.architecture import count_parameters, relative_path
from kgrow.architecture.output_check import difference
from kgrow.backend.lazy_variables import without_values
from kgrow.callbacks.sub_models import SubModels
from kgrow.layers.attention.head_extensible_attention import (
    HeadExtensibleAttention,
)
from kgrow.layers.attention.head_projection import HeadProjection
from kgrow.layers.attention.talking_heads_attention import (
    TalkingHeadsAttention,
)
from kgrow.layers.blocks.class_attention_block import ClassAttentionBlock
from kgrow.layers.blocks.layer_scale import LayerScale
from kgrow.layers.blocks.layer_scale_block import LayerScaleBlock
from kgrow.layers.embeddings.class_token import ClassToken
from kgrow.layers.embeddings.grid_position_embedding import (
    GridPositionEmbedding,
)
from kgrow.layers.embeddings.patch_embedding import PatchEmbedding
from kgrow.models.cait import CaiT
from kgrow.models.deit import DeiT
from kgrow.models.vit import ViT

# Mostly compilation; `test_families` runs each family on every backend.
pytestmark = pytest.mark.compiles

FAMILIES = {"ViT": ViT, "DeiT": DeiT, "CaiT": CaiT}
EACH = pytest.mark.parametrize("family", FAMILIES)
SIZES = ViT.example.sizes
ROUNDING = tolerance("float64", 64, 16)


def make(family, **overrides):
    """A model of a family with noise in every weight."""
    with without_values():
        model = FAMILIES[family](**{**SIZES, **overrides})
    return randomize(give_zeros(model))


def images(model, batch=3, seed=1):
    return model.network.example_inputs(batch, seed)


def classes(batch=4, seed=2):
    return np.random.default_rng(seed).integers(5, size=batch)


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model


# --- what they compute ------------------------------------------------------


PUBLISHED = {
    # As counted by the authors' code at 224 pixels, for 1000 classes.
    "DeiT-Ti": (ViT, 12, 192, 3, 5_717_416),
    "DeiT-S": (ViT, 12, 384, 6, 22_050_664),
    "DeiT-B": (ViT, 12, 768, 12, 86_567_656),
    "DeiT-Ti distilled": (DeiT, 12, 192, 3, 5_910_800),
    "DeiT-S distilled": (DeiT, 12, 384, 6, 22_436_432),
    "DeiT-B distilled": (DeiT, 12, 768, 12, 87_338_192),
    # 26.6M and 46.9M in the paper.
    "CaiT-XS24": (CaiT, 24, 288, 6, 26_560_648),
    "CaiT-S24": (CaiT, 24, 384, 8, 46_916_200),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_numbers_of_parameters(name):
    family, layers, hidden, heads, parameters = PUBLISHED[name]
    with without_values():
        model = family(
            image_size=224,
            patch_size=16,
            num_layers=layers,
            num_heads=heads,
            hidden_dim=hidden,
            intermediate_dim=4 * hidden,
            num_classes=1000,
        )
    assert count_parameters(model.network) == parameters


def _hub_name(path):
    """What KerasHub calls a variable of a block, or around the blocks."""
    block = re.match(r"transformer_layer_(\d+)/", path)
    if block:
        path = path.replace(block[0], f"transformer_block_{int(block[1]) + 1}/")
    for ours, theirs in {
        "self_attention_layer_norm": "ln_1",
        "feedforward_layer_norm": "ln_2",
        "self_attention": "mha",
        "feedforward_intermediate_dense": "mlp/dense_1",
        "feedforward_output_dense": "mlp/dense_2",
        "layer_norm": "ln",
        "_token/token": "_token",
    }.items():
        path = re.sub(rf"(?<![a-z]){ours}(?=/|$)|{ours}$", theirs, path)
    return path


def _hub_values(network, tokens):
    """`{path: array}` of our backbone, named and shaped as KerasHub's."""
    values = {
        relative_path(network, w): array(w)
        for w in network.weights
        if "predictions" not in w.path
    }
    rows = [values.pop(f"{token}/position")[0] for token in tokens]
    grid = values.pop("position_embedding/embeddings")
    positions = np.concatenate([*rows, grid.reshape(-1, grid.shape[-1])])
    return positions, {_hub_name(path): v for path, v in values.items()}


@pytest.mark.parametrize("family", ["ViT", "DeiT"])
def test_backbones_equal_those_of_keras_hub(family):
    keras_hub = pytest.importorskip("keras_hub")
    heads = {"num_heads": 2, "head_dim": 4}
    model = make(family, **heads)
    hub, tokens, ffn = {
        "ViT": (keras_hub.models.ViTBackbone, ["class_token"], "mlp_dim"),
        "DeiT": (
            keras_hub.models.DeiTBackbone,
            ["class_token", "distillation_token"],
            "intermediate_dim",
        ),
    }[family]
    backbone = hub(
        image_shape=(8, 8, 3),
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        dropout_rate=0.0,
        layer_norm_epsilon=1e-6,
        data_format="channels_last",
        **{ffn: SIZES["intermediate_dim"]},
    )
    positions, values = _hub_values(model.network, tokens)
    for weight in backbone.weights:
        path = weight.path.replace("mlp/dense/", "mlp/dense_1/")
        path = path.replace("output_layer/output/", "mlp/dense_2/")
        if "position_embedding" in path:
            weight.assign(positions.reshape(weight.shape))
            continue
        (found,) = [p for p in values if path.endswith(p)]
        weight.assign(values.pop(found))
    assert not values
    x = images(model)
    expected = array(backbone(x))
    assert_close(array(model.network.encode(x)), expected, "float32")


def _softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _cait_by_hand(values, x, heads, size):
    """CaiT as its authors wrote it down, in numpy."""

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return x * values[f"{name}/gamma"] + values[f"{name}/beta"]

    def dense(x, name):
        kernel = values[f"{name}/kernel"].reshape(x.shape[-1], -1)
        return x @ kernel + values[f"{name}/bias"].reshape(-1)

    def branches(x, seen, block, talks):
        attention = f"{block}/self_attention"
        q, k, v = (
            dense(y, f"{attention}/{name}")
            .reshape(len(y), -1, heads, size)
            .transpose(0, 2, 1, 3)
            for name, y in (("query", x), ("key", seen), ("value", seen))
        )
        a = q * size**-0.5 @ k.swapaxes(-1, -2)
        for name in ("score", "weight"):
            if talks:
                a = a.transpose(0, 2, 3, 1)
                a = dense(a, f"{attention}/{name}_projection")
                a = a.transpose(0, 3, 1, 2)
            a = _softmax(a) if name == "score" else a
        y = (a @ v).transpose(0, 2, 1, 3).reshape(len(x), -1, heads * size)
        return dense(y, f"{attention}/attention_output")

    def block(x, name, patches=None):
        attended, fed = (
            f"{name}/{branch}" for branch in ("self_attention", "feedforward")
        )
        seen = x if patches is None else np.concatenate([x, patches], 1)
        seen = norm(seen, f"{attended}_layer_norm")
        y = branches(seen[:, : x.shape[1]], seen, name, patches is None)
        x = x + values[f"{attended}_layer_scale/gamma"] * y
        y = dense(norm(x, f"{fed}_layer_norm"), f"{fed}_intermediate_dense")
        y = array(ops.gelu(y, approximate=False))
        y = dense(y, f"{fed}_output_dense")
        return x + values[f"{fed}_layer_scale/gamma"] * y

    batch, side, _, channels = x.shape
    grid = values["position_embedding/embeddings"]
    n = len(grid)
    x = x.reshape(batch, n, side // n, n, side // n, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, n * n, -1)
    x = dense(x, "patch_embedding") + grid.reshape(n * n, -1)
    for i in range(2):
        x = block(x, f"transformer_layer_{i}")
    token = np.repeat(values["class_token/token"], batch, 0)
    for i in range(2):
        token = block(token, f"class_layer_{i}", x)
    return dense(norm(token, "layer_norm")[:, 0], "predictions")


def test_cait_computes_what_its_authors_wrote():
    model = make("CaiT")
    network, x = model.network, images(model)
    values = {relative_path(network, w): array(w) for w in network.weights}
    expected = _cait_by_hand(values, x, heads=3, size=2)
    assert_close(outputs(network, x), expected, "float32")


def test_deit_puts_out_the_mean_or_both():
    both = make("DeiT", logits="both")
    x = images(both)
    found = both(x)
    assert list(found) == ["class", "distillation"]
    one, other = (array(found[key]) for key in found)
    assert relative_difference(one, other) > 0.1
    both.set_training_options(logits="mean")
    np.testing.assert_allclose(array(both(x)), (one + other) / 2, atol=1e-6)
    assert "logits" in both.training_options
    with pytest.raises(GrowthError, match="Received: logits='sum'"):
        make("DeiT", logits="sum")


@pytest.mark.compiles
def test_deit_learns_from_labels_and_from_a_teacher():
    model = make("DeiT", logits="both")
    x = images(model, 4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(1e-2),
        {"class": loss, "distillation": loss},
    )
    y = {"class": classes(), "distillation": classes(seed=3)}
    losses = model.fit(x, y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    before = model.evaluate(x, y, verbose=0)
    assert model.grow({"hidden_dim": 16, "num_layers": 3}).exact
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), before, 1e-4)
    model.fit(x, y, verbose=0)


@EACH
def test_images_may_be_smaller_and_integers(family):
    model = make(family, image_size=12)
    x = (255 * np.random.default_rng(0).random((2, 8, 12, 3))).astype("uint8")
    logits = array(model(x))
    assert logits.shape == (2, 5)
    assert_close(logits, array(model(x.astype("float32"))), "float32")
    symbolic = model.network(keras.Input((8, 12, 3)))
    assert symbolic.shape == (None, 5)
    for shape in [(2, 16, 8, 3), (2, 6, 8, 3), (2, 8, 8, 4), (8, 8, 3)]:
        with pytest.raises(GrowthError, match="Received: inputs of shape"):
            model.network(np.zeros(shape, "float32"))
    with pytest.raises(GrowthError, match="image_size=10, patch_size=4"):
        make(family, image_size=10)


@EACH
def test_channels_come_last_whatever_keras_prefers(family):
    model = make(family)
    expected = array(model(images(model)))
    keras.config.set_image_data_format("channels_first")
    try:
        twin = make(family)
        np.testing.assert_allclose(
            array(twin(images(twin))), expected, rtol=1e-5, atol=1e-6
        )
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.sample
@pytest.mark.compiles
@EACH
@pytest.mark.parametrize(
    "policy, dropout",
    [("float32", 0.1), ("mixed_bfloat16", 0.0), ("float64", 0.0)],
)
def test_trains_under_every_dtype_policy(family, policy, dropout, request):
    if policy == "float64":
        request.getfixturevalue("float64")
    model = make(family, num_layers=1, dropout=dropout, dtype=policy)
    x = images(model, 4)
    dtype = keras.backend.standardize_dtype(model(x).dtype)
    assert dtype == model.network.compute_dtype
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = model.fit(x, classes(), epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@EACH
def test_config_and_paths_are_a_contract(family):
    network = make(family, dropout=0.1, layer_drop=0.2).network
    config = json.loads(json.dumps(network.get_config()))
    with without_values():
        twin = type(network).from_config(config)
    assert twin.get_config() == config
    paths = [relative_path(network, v) for v in network.variables]
    assert paths == [relative_path(twin, v) for v in twin.variables]
    assert len(set(paths)) == len(paths)
    model = make(family)
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()


@pytest.mark.compiles
@EACH
def test_leaves_blocks_out_while_it_trains(family):
    more = {"token_drop": 0.5} if family == "CaiT" else {}
    model = compiled(make(family, num_layers=3, layer_drop=0.5, **more))
    x, y = images(model, 4), classes()
    expected = outputs(make(family, num_layers=3).network, x)
    np.testing.assert_allclose(outputs(model.network, x), expected, 1e-5, 1e-6)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0)
    model.set_training_options(layer_drop=0.0)
    model.fit(x, y, verbose=0, callbacks=[SubModels([1, 3], 1)])


@pytest.mark.sample
@pytest.mark.compiles
@EACH
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_files_bring_back_what_grew(family, suffix, tmp_path):
    model = make(family)
    model.grow({"hidden_dim": 16, "num_layers": 3, "image_size": 12}, seed=0)
    x, file = images(model), tmp_path / f"model{suffix}"
    expected = array(model(x))
    if suffix == ".keras":
        model.save(file)
        loaded = keras.saving.load_model(file)
    else:
        model.save_weights(file)
        loaded = make(family)
        loaded.load_weights(file)
    assert loaded.growth_config == model.growth_config
    np.testing.assert_array_equal(array(loaded(x)), expected)


# --- how they grow ----------------------------------------------------------


def growths(family):
    fields = [
        field
        for field in FAMILIES[family].axes.fields
        if field in SIZES or field == "num_class_layers"
    ]
    sizes = {**SIZES, "num_class_layers": 2}
    widths = [f for f in fields if "layers" not in f]
    return {
        "double-all": {f: 2 * sizes[f] for f in fields},
        # Patches keep their size.
        "more-all": {
            f: 12 if f == "image_size" else sizes[f] + 1 + sizes[f] // 4
            for f in fields
        },
        "double-width": {f: 2 * sizes[f] for f in widths},
        "more-inside": {
            "intermediate_dim": 13,
            "num_heads": 4,
            "head_dim": 3,
            "image_size": 12,
        },
        "deeper": {f: 2 * sizes[f] for f in fields if f not in widths},
    }


GROWTHS = ("double-all", "more-all", "double-width", "more-inside", "deeper")


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("name", strategies.names(aliases=False))
@pytest.mark.parametrize("growth", GROWTHS)
@EACH
def test_claims_are_neither_too_bold_nor_too_timid(
    float64, family, growth, name
):
    """A strategy refuses what it cannot do, and the error says what could."""
    model = make(family, dtype="float64")
    x = images(model)
    before, target = outputs(model.network, x), growths(family)[growth]
    try:
        network, plan = grow_offline(model, target, name, seed=3)
    except GrowthError as error:
        # Only Mango cannot grow a stack for what it is: kernels of heads
        # alone are no squares of the stream's width.
        assert re.search("Combine|Choose|Use|Grow it by|Give", str(error))
        return
    stated = strategies.get(name).claims(plan)
    _, relative = difference([before], [outputs(network, x)], plan)
    assert {claim.dim for claim in stated} == set(plan.grown)
    exact = all(claim.exact for claim in stated)
    assert exact == (relative <= ROUNDING), (stated, relative)


EXACT = {
    "net2net": {"double-all", "double-width", "more-inside", "deeper"},
    "msg": set(GROWTHS),
    "lemon": set(GROWTHS),
    "hypercloning": {"double-width"},
    "llama_pro": {"deeper"},
    "identity": {"deeper"},
}


@pytest.mark.sample
@pytest.mark.parametrize("name", EXACT)
@EACH
def test_what_is_exact_in_which_family(family, name):
    expected, found = EXACT[name], set()
    if (family, name) == ("CaiT", "lemon"):
        # An average of units and its factor are not the average of the units
        # with theirs.
        expected = expected - {"more-all"}
    model = make(family)
    for growth, target in growths(family).items():
        try:
            _, plan = grow_offline(model, target, name)
        except GrowthError:
            continue
        claims = strategies.get(name).claims(plan)
        if all(claim.exact for claim in claims):
            found.add(growth)
    assert found == expected


def _strategy(name):
    if name == "ligo":
        return strategies.LiGO(init="lemon", steps=3, verbose=0)
    return strategies.MSG(ramp=4) if name == "msg" else name


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("name", ["net2net", "lemon", "msg", "ligo"])
@EACH
def test_grows_while_it_trains(family, name):
    model = compiled(make(family))
    x, y = images(model, 4), classes()
    model.fit(x, y, batch_size=2, verbose=0)
    target = {"hidden_dim": 16, "intermediate_dim": 20, "num_layers": 3}
    if family == "CaiT":
        target["num_class_layers"] = 3
    if name == "ligo":
        # Stacked blocks compute something of their own.
        target["num_heads"] = 6
    receipt = model.grow(target, _strategy(name), data=(x, y), seed=0)
    assert receipt.exact == (name != "ligo")
    assert receipt.slots_carried
    history = model.fit(x, y, batch_size=2, epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert not model.active_gates


@pytest.mark.compiles
@EACH
def test_gates_open_on_every_size_at_once(family):
    model = compiled(make(family))
    x, y = images(model, 4), classes()
    before = array(model(x))
    target = growths(family)["more-all"]
    target.pop("num_classes")
    model.grow(target, strategies.MSG(ramp=3), seed=0)
    assert_close(array(model(x)), before, "float32")
    model.fit(x, y, batch_size=2, epochs=2, verbose=0)
    assert not model.active_gates
    plain = make(family, **model.growth_config)
    plain.network.set_weights(model.network.get_weights())
    assert_close(array(model(x)), array(plain(x)), "float32")


@pytest.mark.compiles
def test_new_blocks_of_cait_learn_although_they_are_the_identity():
    model = make("CaiT")
    model.grow({"num_layers": 3, "num_class_layers": 3}, "identity")
    spec = model.architecture.spec
    silent = [
        v
        for v in spec.variables
        if v.endswith("_scale/gamma") and not np.any(array(weight(model, v)))
    ]
    assert len(silent) == 4
    x, y = images(model, 4), classes()
    compiled(model).fit(x, y, epochs=2, batch_size=2, verbose=0)
    assert all(np.all(array(weight(model, v))) for v in silent)


def weight(model, path):
    network = model.network
    (found,) = [w for w in network.weights if relative_path(network, w) == path]
    return found


@EACH
def test_a_larger_image_keeps_the_positions_of_a_smaller_one(family):
    model = make(family)
    x = images(model)
    before = array(model(x))
    table = array(weight(model, "position_embedding/embeddings"))
    assert model.grow({"image_size": 16}, "net2net").exact
    grown = array(weight(model, "position_embedding/embeddings"))
    np.testing.assert_array_equal(grown[:2, :2], table)
    assert_close(array(model(x)), before, "float32")
    assert tuple(model(images(model)).shape) == (3, 5)


@EACH
def test_positions_are_interpolated_along_rows_and_columns(family):
    model = make(family)
    table = array(weight(model, "position_embedding/embeddings"))
    token = array(weight(model, "class_token/token"))
    stretch = strategies.Positions("interpolate", dim="grid")
    receipt = model.grow({"image_size": 12}, stretch)
    assert not receipt.exact
    grown = array(weight(model, "position_embedding/embeddings"))
    np.testing.assert_allclose(grown[::2, ::2], table)
    np.testing.assert_allclose(grown[1, 1], table.mean((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(
        array(weight(model, "class_token/token")), token
    )


def test_image_sizes_that_patches_do_not_divide_are_refused():
    model = make("ViT")
    with pytest.raises(GrowthError, match="multiple of `patch_size`"):
        model.grow({"image_size": 10})
    assert model.growth_config["image_size"] == 8


# --- their layers -----------------------------------------------------------


LAYERS = {
    "patches": (PatchEmbedding(4, 2), [(1, 4, 4, 3)]),
    "grid": (GridPositionEmbedding(4, "ones"), [(1, 2, 3, 4)]),
    "token": (ClassToken(True, "ones"), [(2, 3, 4)]),
    "scale": (LayerScale(0.1), [(2, 3)]),
    "heads": (HeadProjection(), [(1, 2, 3, 3)]),
    "talking": (TalkingHeadsAttention(2, 3), [(1, 4, 6), (1, 4, 6)]),
    "block": (LayerScaleBlock(2, 3, 5, 0.1), [(1, 4, 6)]),
    "class": (
        ClassAttentionBlock(2, 3, 5, layer_scale_init_value=0.5),
        [(1, 1, 6), (1, 4, 6)],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_made_again_from_their_configs(name):
    layer, shapes = LAYERS[name]
    layer = type(layer).from_config(layer.get_config())
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    twin = keras.saving.deserialize_keras_object(config)
    assert twin.get_config() == layer.get_config()
    x = [np.random.default_rng(0).random(s).astype("float32") for s in shapes]
    y = layer(*x)
    twin(*x)
    assert len(twin.weights) == len(layer.weights)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(twin(*x)), array(y))


def test_heads_that_say_nothing_to_each_other_attend_as_ever():
    talking = TalkingHeadsAttention(3, 4, name="talking")
    stock = HeadExtensibleAttention(3, 4, name="stock")
    x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype("float32")
    talking(x, x), stock(x, x)
    by_path = {w.path.removeprefix("stock/"): w for w in stock.weights}
    for w in talking.weights:
        path = w.path.removeprefix("talking/")
        if "_projection/kernel" in path:
            w.assign(np.eye(3))
        elif "_projection" not in path:
            by_path[path].assign(w.value)
    for options in (
        {},
        {"use_causal_mask": True},
        {"attention_mask": np.array([[[1, 0, 1]] * 3] * 2, bool)},
    ):
        one, scores = talking(x, x, return_attention_scores=True, **options)
        other, expected = stock(x, x, return_attention_scores=True, **options)
        np.testing.assert_allclose(array(one), array(other), atol=1e-6)
        np.testing.assert_allclose(array(scores), array(expected), atol=1e-6)


def test_shut_heads_say_nothing_to_the_others():
    layer = TalkingHeadsAttention(3, 4)
    x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    gates = {"heads": np.array([1.0, 1.0, 0.0], "float32")}
    layer(x, x)
    before = array(layer(x, x, gates=gates))
    rng = np.random.default_rng(1)
    for w in layer.weights:
        value, path = array(w).copy(), w.path
        shape = value.shape
        if "_projection/" in path:
            value[..., 2] = rng.normal(size=shape[:-1])
            value[2] = rng.normal(size=shape[1:])
        elif "attention_output/bias" not in path:
            axis = 0 if "attention_output" in path or len(shape) == 2 else 1
            index = (slice(None),) * axis + (2,)
            value[index] = rng.normal(size=value[index].shape)
        w.assign(value)
    np.testing.assert_allclose(
        array(layer(x, x, gates=gates)), before, atol=1e-6
    )


def test_as_many_keys_as_heads_are_no_heads():
    layer = HeadProjection()
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype("float32")
    layer(x)
    layer.bias.assign([1.0, 2.0, 3.0])
    expected = np.einsum("bnts,nm->bmts", x, array(layer.kernel))
    expected += np.reshape([1.0, 2.0, 3.0], (3, 1, 1))
    np.testing.assert_allclose(array(layer(x)), expected, atol=1e-5)
