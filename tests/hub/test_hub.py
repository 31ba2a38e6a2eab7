"""KerasHub's models: exchanging weights with them, and growing them."""

import importlib.util
import json

import keras
import numpy as np
import pytest
from helpers.toy import array, randomize

import kgrow
from kgrow import GrowthError
from kgrow.hub.preprocessing import Batches, apply, preprocessed
from kgrow.models.deit import DeiT
from kgrow.models.vit import ViT

pytestmark = pytest.mark.compiles

keras_hub = pytest.importorskip("keras_hub")
hub = keras_hub.models

SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8}
TEXT = {
    **SIZES,
    "vocabulary_size": 11,
    "intermediate_dim": 12,
    "max_sequence_length": 8,
    "dropout": 0.0,
}
IMAGES = {**SIZES, "image_shape": (6, 6, 3), "patch_size": 2}
HERE = {**SIZES, "image_size": 6, "patch_size": 2, "num_classes": 3}

TASKS = {
    "GPT2": lambda **more: hub.GPT2CausalLM(
        hub.GPT2Backbone(**{**TEXT, **more})
    ),
    "BERT": lambda **more: hub.BertMaskedLM(
        hub.BertBackbone(**{**TEXT, "num_segments": 3, **more})
    ),
    "RoBERTa": lambda **more: hub.RobertaMaskedLM(
        hub.RobertaBackbone(**{**TEXT, **more})
    ),
    "ViT": lambda **more: hub.ViTImageClassifier(
        hub.ViTBackbone(mlp_dim=12, **{**IMAGES, **more}), num_classes=3
    ),
    "DeiT": lambda **more: hub.DeiTImageClassifier(
        hub.DeiTBackbone(intermediate_dim=12, **{**IMAGES, **more}),
        num_classes=3,
    ),
}
MODELS = {
    "GPT2": lambda **more: kgrow.models.GPT2(**{**TEXT, **more}),
    "BERT": lambda **more: kgrow.hub.HubBERT(**{**TEXT, **more}),
    "RoBERTa": lambda **more: kgrow.models.RoBERTa(**{**TEXT, **more}),
    "ViT": lambda **more: ViT(intermediate_dim=12, **{**HERE, **more}),
    "DeiT": lambda **more: DeiT(intermediate_dim=12, **{**HERE, **more}),
}


def inputs_of(family):
    """`(inputs of KerasHub's task, inputs of the model here)`."""
    rng = np.random.default_rng(3)
    if family in ("ViT", "DeiT"):
        images = rng.standard_normal((2, 6, 6, 3)).astype("float32")
        return images, images
    tokens = rng.integers(0, 11, (2, 7)).astype("int32")
    mask = np.ones_like(tokens)
    if family == "GPT2":
        return {"token_ids": tokens, "padding_mask": mask}, tokens
    mask[1, 5:] = 0
    places = np.array([[0, 3], [2, 4]], "int32")
    here = {"token_ids": tokens, "padding_mask": mask}
    there = dict(here)
    if family == "BERT":
        segments = rng.integers(0, 2, tokens.shape).astype("int32")
        here["segment_ids"] = there["segment_ids"] = segments
    return {**there, "mask_positions": places}, {
        **here,
        "masked_positions": places,
    }


def close(actual, expected):
    actual, expected = array(actual), array(expected)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.grid
@pytest.mark.parametrize("family", TASKS)
def test_from_hub_computes_the_same(family):
    task = randomize(TASKS[family]())
    there, here = inputs_of(family)
    model = kgrow.hub.from_hub(task)
    close(model(here), task(there))
    again = kgrow.hub.to_hub(model)
    assert type(again) is type(task)
    close(again(there), task(there))
    for old, new in zip(task.weights, again.weights, strict=True):
        if "pooled_dense" not in old.path:
            np.testing.assert_array_equal(array(old), array(new))


@pytest.mark.grid
@pytest.mark.parametrize("family", MODELS)
def test_to_hub_computes_the_same(family):
    model = randomize(MODELS[family]())
    for weight in model.weights:
        if "distillation_predictions" in weight.path:
            weight.assign(np.zeros(weight.shape))
    there, here = inputs_of(family)
    task = kgrow.hub.to_hub(model)
    close(task(there), model(here))
    assert task.compiled
    backbone = kgrow.hub.to_hub(model, task=False)
    for key in ("masked_positions", "mask_positions"):
        if isinstance(here, dict):
            here.pop(key, None)
            there.pop(key, None)
    outputs = backbone(there)
    if isinstance(outputs, dict):
        outputs = outputs["sequence_output"]
    close(outputs, model.network.encode(here))


@pytest.mark.parametrize(
    "family, strategy", [("GPT2", "lemon"), ("BERT", "hypercloning")]
)
def test_a_grown_model_goes_to_keras_hub_and_back(family, strategy):
    task = randomize(TASKS[family]())
    there, here = inputs_of(family)
    model = kgrow.hub.from_hub(task)
    change = {"hidden_dim": 16, "num_heads": 4, "intermediate_dim": 24}
    assert model.grow(change, strategy, seed=0).exact
    grown = kgrow.hub.to_hub(model)
    assert grown.backbone.hidden_dim == 16
    close(grown(there), task(there))
    again = kgrow.hub.from_hub(grown)
    assert again.growth_config == model.growth_config
    close(again(here), model(here))


@pytest.mark.compiles
@pytest.mark.parametrize("family", ["GPT2", "RoBERTa", "ViT", "DeiT"])
def test_backbones_have_a_head_of_their_own(family):
    backbone = randomize(TASKS[family]().backbone)
    there, here = inputs_of(family)
    if isinstance(there, dict):
        there.pop("mask_positions", None)
    if isinstance(here, dict):
        here.pop("masked_positions", None)
    images = family in ("ViT", "DeiT")
    options = {"num_classes": 4} if images else {}
    model = kgrow.hub.from_hub(backbone, **options)
    close(model.network.encode(here), backbone(there))
    last = 4 if images else 11
    assert model(here).shape[-1] == last


def test_heads_in_half_precision_keep_their_policy():
    task = TASKS["RoBERTa"](dtype="mixed_bfloat16")
    model = kgrow.hub.from_hub(task)
    assert model.dtype_policy.name == "mixed_bfloat16"
    assert kgrow.hub.to_hub(model).dtype_policy.name == "mixed_bfloat16"


@pytest.mark.compiles
@pytest.mark.parametrize(
    "made, message",
    [
        (lambda: TASKS["BERT"]().backbone, "pooled_dense"),
        (lambda: TASKS["ViT"]().backbone, "num_classes"),
        (lambda: TASKS["ViT"](dropout_rate=0.1), "dropout_rate=0.1"),
        (lambda: TASKS["ViT"](image_shape=(6, 4, 3)), "square"),
        (lambda: TASKS["DeiT"](use_mha_bias=False), "use_mha_bias=False"),
        (lambda: keras.Sequential([keras.Input((2,))]), "grows as it is"),
    ],
)
def test_from_hub_refuses_what_it_cannot_represent(made, message):
    with pytest.raises(GrowthError, match=message):
        kgrow.hub.from_hub(made())


@pytest.mark.parametrize(
    "made, message",
    [
        (lambda: MODELS["GPT2"](head_dim=3), "hidden_dim // num_heads"),
        (lambda: MODELS["GPT2"](token_drop=0.2), "token_drop=0.2"),
        (lambda: MODELS["GPT2"](layer_norm_epsilon=1e-6), "epsilon=1e-05"),
        (lambda: MODELS["ViT"](dropout=0.1), "dropout"),
        (lambda: randomize(MODELS["DeiT"]()), "class token alone"),
        (lambda: kgrow.models.BERT(**TEXT), "HubBERT"),
        (lambda: MODELS["GPT2"]().network, "must be one of"),
    ],
)
def test_to_hub_refuses_what_it_cannot_represent(made, message):
    with pytest.raises(GrowthError, match=message):
        kgrow.hub.to_hub(made())


def test_a_gate_that_is_opening_is_no_keras_hub_s():
    model = MODELS["GPT2"]()
    model.grow({"intermediate_dim": 16}, kgrow.strategies.MSG(ramp=5), seed=0)
    with pytest.raises(GrowthError, match="force_open_gates"):
        kgrow.hub.to_hub(model)
    model.force_open_gates()
    assert kgrow.hub.to_hub(model).backbone.intermediate_dim == 16


def test_the_plain_bert_gives_its_backbone():
    model = randomize(kgrow.models.BERT(**TEXT))
    backbone = kgrow.hub.to_hub(model, task=False)
    there, here = inputs_of("BERT")
    there.pop("mask_positions"), here.pop("masked_positions")
    here["segment_ids"] = there["segment_ids"] = 0 * there["segment_ids"]
    close(backbone(there)["sequence_output"], model.network.encode(here))


# Growing tasks as they are.

FEATURES = ["a ab b ab", "a ab", "ab b abb ab", "bab"]


def gpt2_preprocessor():
    words = ["<|endoftext|>", "a", "b", "Ġ", "ab", "Ġa", "Ġab", "!"]
    vocabulary = {word: number for number, word in enumerate(words)}
    merges = ["a b", "Ġ a", "Ġ ab"]
    tokenizer = hub.GPT2Tokenizer(vocabulary=vocabulary, merges=merges)
    return hub.GPT2CausalLMPreprocessor(tokenizer=tokenizer, sequence_length=8)


def bert_tokenizer():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ab", "b"]
    return hub.BertTokenizer(vocabulary=words)


@pytest.fixture(scope="module")
def axes():
    """Derived once: `{name: AxisMap}`."""
    return {}


def growable(name, task, axes):
    model = kgrow.GrowableModel(task, axes=axes.get(name))
    axes[name] = model.architecture.axes
    return model


def causal_lm(axes, **options):
    backbone = hub.GPT2Backbone(**TEXT)
    task = hub.GPT2CausalLM(backbone, gpt2_preprocessor(), **options)
    return growable("GPT2", randomize(task), axes)


@pytest.mark.compiles
def test_a_task_trains_on_texts_and_grows(axes, tmp_path):
    model = causal_lm(axes)
    assert isinstance(model, kgrow.hub.GrowableTask)
    assert model.compiled and model.network.optimizer is None
    optimizer = model.optimizer
    assert float(array(optimizer.learning_rate)) == np.float32(2e-5)
    tokenizer = model.preprocessor.tokenizer
    history = model.fit(
        FEATURES, batch_size=2, epochs=2, validation_split=0.5, verbose=0
    )
    assert "val_sparse_categorical_accuracy" in history.history
    there, _ = inputs_of("GPT2")
    before = array(model(there))
    change = {"num_layers": 4, "hidden_dim": 12, "num_heads": 3}
    receipt = model.grow(change, "lemon", data=(FEATURES,), seed=0)
    assert receipt.exact
    assert receipt.loss_after == pytest.approx(receipt.loss_before, 1e-4)
    close(model(there), before)
    assert model.optimizer is optimizer
    assert model.backbone.num_layers == 4
    assert model.preprocessor.tokenizer is tokenizer
    model.fit(FEATURES, batch_size=2, verbose=0)
    assert int(array(optimizer.iterations)) == 4
    loss = model.evaluate(FEATURES, batch_size=2, verbose=0)[0]
    assert np.isfinite(loss)
    assert model.predict(FEATURES, verbose=0).shape == (4, 8, 11)

    text = model.generate("a ab", max_length=6)
    assert text.startswith("a ab")

    kgrow.hub.save_to_preset(model, tmp_path / "preset")
    receipts = (tmp_path / "preset" / "kgrow_receipts.json").read_text()
    assert json.loads(receipts) == [receipt.to_dict()]
    again = hub.CausalLM.from_preset(str(tmp_path / "preset"))
    close(again(there), model(there))
    again.compile(sampler="greedy")
    model.compile(sampler="greedy")
    assert again.generate("a", max_length=6) == model.generate(
        "a", max_length=6
    )
    # Grown further, from a preset.
    more = growable("GPT2", again, axes)
    assert more.grow({"intermediate_dim": 16}).exact


def test_a_task_with_its_vocabulary_comes_back_from_a_file(axes, tmp_path):
    model = causal_lm(axes)
    model.compile("adam", sampler="greedy")
    model.fit(FEATURES, batch_size=2, verbose=0)
    model.grow({"num_layers": 3})
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    assert isinstance(again, kgrow.hub.GrowableTask)
    there, _ = inputs_of("GPT2")
    close(again(there), model(there))
    assert int(array(again.optimizer.iterations)) == 2
    slots = model.optimizer.variables, again.optimizer.variables
    for old, new in zip(*slots, strict=True):
        np.testing.assert_array_equal(array(old), array(new))
    text = model.generate("a", max_length=6)
    assert again.generate("a", max_length=6) == text
    again.fit(FEATURES, batch_size=2, verbose=0)
    assert again.grow({"num_layers": 4}).exact


@pytest.mark.compiles
def test_a_task_grows_inside_fit_and_learns_from_texts(axes):
    model = causal_lm(axes)
    schedule = kgrow.schedules.GrowthSchedule(
        [
            kgrow.schedules.Stage(2, {"num_layers": 2}),
            kgrow.schedules.Stage(4, {"num_layers": 4}, "lemon"),
        ]
    )
    growth = kgrow.callbacks.Growth(schedule, verbose=0)
    model.fit(FEATURES, batch_size=2, epochs=4, verbose=0, callbacks=[growth])
    assert [receipt.step for receipt in model.growth_history] == [2]
    assert model.generate(["a"], max_length=6)[0].startswith("a")
    strategy = kgrow.strategies.LiGO(steps=1, batch_size=2)
    receipt = model.grow(
        {"hidden_dim": 16, "num_heads": 4}, strategy, data=(FEATURES,), seed=0
    )
    assert receipt.learned["steps"] == 1


@pytest.mark.slow
@pytest.mark.compiles
def test_a_task_takes_datasets_of_texts(axes):
    tf = pytest.importorskip("tensorflow")
    model = causal_lm(axes)
    dataset = tf.data.Dataset.from_tensor_slices(FEATURES).batch(2)
    model.fit(dataset, validation_data=dataset, verbose=0)
    expected = model.evaluate(FEATURES, batch_size=2, verbose=0)
    np.testing.assert_allclose(
        model.evaluate(dataset, verbose=0), expected, rtol=1e-5
    )
    whole = model.predict(FEATURES, verbose=0)
    np.testing.assert_allclose(
        model.predict(dataset, verbose=0), whole, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        model.predict_on_batch(FEATURES), whole, rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.compiles
def test_what_a_task_was_compiled_with_is_taken_over(axes):
    backbone = hub.GPT2Backbone(**TEXT)
    task = hub.GPT2CausalLM(backbone, gpt2_preprocessor())
    optimizer = keras.optimizers.SGD(0.5)
    task.compile(optimizer=optimizer, sampler="greedy", weighted_metrics=None)
    task.fit(FEATURES, batch_size=2, verbose=0)
    model = growable("GPT2", task, axes)
    assert model.optimizer is optimizer
    model.grow({"num_layers": 3})
    assert type(model.network.sampler).__name__ == "GreedySampler"
    model.fit(FEATURES, batch_size=2, verbose=0)
    assert int(array(optimizer.iterations)) == 4
    assert model.metrics_names[0] == "loss"


@pytest.mark.compiles
def test_an_uncompiled_task_stays_so(axes):
    model = causal_lm(axes, compile=False)
    assert not model.compiled
    model.grow({"num_layers": 3})
    model.compile()
    model.fit(FEATURES, batch_size=2, verbose=0)


@pytest.mark.compiles
@pytest.mark.parametrize("strategy", ["hypercloning", "lemon"])
def test_tied_heads_keep_the_function(axes, strategy):
    change = {"hidden_dim": 16, "num_heads": 4}
    model = causal_lm(axes)
    there, _ = inputs_of("GPT2")
    before = array(model(there))
    assert model.grow(change, strategy, seed=0).exact
    close(model(there), before)

    task = randomize(TASKS["BERT"]())
    model = growable("BertMaskedLM", task, axes)
    there, _ = inputs_of("BERT")
    before = array(model(there))
    assert model.grow(change, strategy, seed=0).exact
    close(model(there), before)


@pytest.mark.compiles
def test_a_classifier_of_texts_keeps_its_head(axes):
    backbone = hub.BertBackbone(**TEXT)
    preprocessor = hub.BertTextClassifierPreprocessor(
        bert_tokenizer(), sequence_length=6
    )
    task = hub.BertTextClassifier(backbone, 3, preprocessor)
    model = growable("BertTextClassifier", randomize(task), axes)
    labels = np.array([0, 1, 2, 0])
    model.fit(FEATURES, labels, batch_size=2, verbose=0)
    before = model.predict(FEATURES, verbose=0)
    receipt = model.grow({"hidden_dim": 16, "num_heads": 4}, seed=0)
    assert receipt.exact
    close(model.predict(FEATURES, verbose=0), before)
    history = model.fit(
        FEATURES,
        labels,
        batch_size=2,
        verbose=0,
        validation_data=(FEATURES, labels),
    )
    assert "val_loss" in history.history
    assert np.isfinite(model.train_on_batch(FEATURES, labels)[0])
    with pytest.raises(GrowthError, match="nothing to generate"):
        model.generate("a")


@pytest.mark.compiles
def test_an_image_classifier_grows(axes):
    task = randomize(TASKS["ViT"]())
    model = growable("ViT", task, axes)
    x, _ = inputs_of("ViT")
    y = np.array([0, 2])
    model.fit(x, y, verbose=0)
    before = model.predict(x, verbose=0)
    receipt = model.grow({"num_layers": 3, "num_classes": 3, "mlp_dim": 20})
    assert receipt.exact
    close(model.predict(x, verbose=0), before)
    model.fit(x, y, verbose=0)


@pytest.mark.skipif(
    importlib.util.find_spec("safetensors") is None,
    reason="safetensors is not installed",
)
def test_a_grown_model_goes_to_transformers(axes, tmp_path):
    from safetensors.numpy import load_file

    model = causal_lm(axes)
    model.grow({"num_layers": 3, "hidden_dim": 16, "num_heads": 4}, "lemon")
    model.network.export_to_transformers(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["n_layer"] == 3 and config["n_embd"] == 16
    weights = load_file(tmp_path / "model.safetensors")
    table = array(model.backbone.token_embedding.embeddings)
    np.testing.assert_array_equal(weights["transformer.wte.weight"], table)


# What data become.


def double(x, y=None, sample_weight=None):
    return keras.utils.pack_x_y_sample_weight(
        [len(text) for text in x], y, sample_weight
    )


@pytest.mark.each
def test_data_of_all_kinds_are_preprocessed():
    labels = np.arange(4)
    expected = [([9, 4], [0, 1]), ([11, 3], [2, 3])]

    class Own(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            rows = slice(2 * index, 2 * index + 2)
            return FEATURES[rows], labels[rows]

    kinds = [
        preprocessed(double, FEATURES, labels, batch_size=2),
        preprocessed(double, Own()),
        preprocessed(double, (Own()[i] for i in range(2))),
    ]
    for made in kinds:
        if isinstance(made, keras.utils.PyDataset):
            made = [made[i] for i in range(made.num_batches)]
        for (x, y), (lengths, numbers) in zip(made, expected, strict=True):
            assert x.tolist() == lengths and y.tolist() == numbers
    ((x,),) = [apply(double, (FEATURES,))]
    assert x.shape == (4,)


@pytest.mark.parametrize("x", ["a text", np.float32(1.0), ([1, 2], [1])])
def test_data_without_samples_are_refused(x):
    with pytest.raises(GrowthError, match="same length"):
        preprocessed(double, x)


def test_a_dataset_has_its_own_labels():
    with pytest.raises(GrowthError, match="its labels"):
        preprocessed(double, Batches(FEATURES), y=np.arange(4))


@pytest.mark.skipif(
    importlib.util.find_spec("keras_nlp") is None,
    reason="keras-nlp is not installed",
)
def test_keras_nlp_is_keras_hub():
    import keras_nlp

    assert keras_nlp.models.BertBackbone is hub.BertBackbone
    assert (
        kgrow.hub.from_hub(keras_nlp.models.GPT2Backbone(**TEXT)).growth_config[
            "hidden_dim"
        ]
        == 8
    )


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="traced in this process"
)
@pytest.mark.parametrize("name", ["Mixtral", "Qwen3Moe", "QwenMoe", "GptOss"])
def test_experts_of_a_backbone_grow(name):
    hub_models = pytest.importorskip("docs.tools.hub_models")
    network = hub_models.small_network(f"{name}Backbone")
    randomize(network)
    model = kgrow.GrowableModel(network)
    before = _auxiliary_loss(model.network)
    assert before > 0 or name == "GptOss"  # which has none
    receipt = model.grow({"num_experts": 8, "top_k": 4}, "net2net")
    np.testing.assert_allclose(_auxiliary_loss(model.network), before, 1e-5)
    assert receipt.exact and receipt.relative_diff <= receipt.tolerance
    assert model.network.num_experts == 8 and model.network.top_k == 4
    receipt = model.grow({"num_experts": 16}, "net2net")
    assert not receipt.exact and "`top_k` has to grow" in str(receipt.claims)


def _auxiliary_loss(network):
    tokens = np.arange(14).reshape(2, 7) % 50
    ones = np.ones_like(tokens)
    network({"token_ids": tokens, "padding_mask": ones}, training=True)
    return sum(float(loss) for loss in network.losses)
