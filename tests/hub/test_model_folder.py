"""Folders of `transformers` in Keras: the same logits, and the same bits back.

Each architecture that has a table, in tiny configurations with noise in every
weight.
"""

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest

from kgrow import GrowthError, hf, hub
from kgrow.algebra.errors import FileError
from kgrow.hub.folders import hub_table_of, model_types
from kgrow.hub.model_folder import read_task
from kgrow.hub.presets import RECEIPTS

hf_models = pytest.importorskip("docs.tools.hf_models")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("keras_hub")

# transformers runs on torch.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="transformers runs on torch"
)

# Constants inside norms that KerasHub's networks have whatever a config says.
MORE = {
    "Qwen3": {"rms_norm_eps": 1e-5},
    "Gemma2": {"query_pre_attn_scalar": 6},
    "Gemma3": {
        "query_pre_attn_scalar": 6,
        "layer_types": ["sliding_attention"] * 2,
    },
}
GROWTHS = {
    "GPT2": {"num_layers": 3, "hidden_dim": 48, "num_heads": 8},
    "Bert": {"hidden_dim": 48, "num_heads": 8, "intermediate_dim": 60},
    "Gemma": {"num_layers": 3, "intermediate_dim": 100, "num_query_heads": 8},
    # Which of its blocks see a window only follows from their numbers.
    "Gemma2": {"vocabulary_size": 50, "intermediate_dim": 100},
    "Gemma3": {"vocabulary_size": 50, "intermediate_dim": 60},
}
GROWTH = {
    "num_layers": 3,
    "intermediate_dim": 60,
    "hidden_dim": 48,
    "num_query_heads": 8,
}


hub_tables = {n: hub_table_of({"model_type": n}) for n in model_types()}


def cases():
    """The cases of `kgrow.hf` that KerasHub has a task for."""
    for case in hf_models.CASES:
        config = getattr(transformers, case.config)
        table = hub_tables.get(config.model_type)
        untied = case.name == "GPT2" and not case.options.get(
            "tie_word_embeddings", True
        )
        if table is not None and case.model in table.tasks and not untied:
            options = {**case.options, **MORE.get(case.name, {})}
            yield dataclasses.replace(case, options=options)


CASES = list(cases())


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def saved(case, tmp_path, dtype=None):
    model = hf_models.small_model(case).to(dtype or torch.float32)
    model.save_pretrained(tmp_path / "small")
    if case.name == "Bert":
        as_keras_hub(model)
    (tmp_path / "small" / "tokenizer.json").write_text("{}")
    return model


def as_keras_hub(model):
    """BERT as KerasHub has it: a constant of its own in the head's norm, and
    blocks that approximate gelu. `read_task()` warns of both."""
    for layer in model.bert.encoder.layer:
        gelu = torch.nn.GELU(approximate="tanh")
        layer.intermediate.intermediate_act_fn = gelu
    model.cls.predictions.transform.LayerNorm.eps = 1e-5
    return model


def warned(case):
    if case.name == "Bert":
        return pytest.warns(UserWarning, match="approximate gelu by a tanh")
    return contextlib.nullcontext()


def keras_logits(task, like):
    """Logits of a task on the tokens that `hf_models.logits()` takes."""
    tokens = np.arange(20).reshape(2, 10)
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    if "MaskedLM" in type(task).__name__:
        inputs["segment_ids"] = np.zeros_like(tokens)
        inputs["mask_positions"] = np.tile(np.arange(10), (2, 1))
    found = keras.ops.convert_to_numpy(task(inputs))
    assert found.shape == tuple(like.shape)
    return found


def relative(found, expected):
    expected = expected.numpy()
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("case", CASES, ids=hf_models.label)
def test_a_task_has_the_folders_logits_and_gives_its_bits_back(case, tmp_path):
    expected = hf_models.logits(saved(case, tmp_path))
    with warned(case):
        task, folder = read_task(tmp_path / "small")
    assert relative(keras_logits(task, expected), expected) <= 1e-5
    hub.save_folder(task, tmp_path / "again", like=folder)
    before, after = (
        hf.open_checkpoint(tmp_path / name) for name in ("small", "again")
    )
    assert before.config == after.config
    assert "tokenizer.json" in after.carried
    for name, tensor in after.tensors.items():
        np.testing.assert_array_equal(
            tensor.read(), before.tensors[name].read()
        )
    again = hf_models.loaded(
        getattr(transformers, case.model), tmp_path / "again"
    )
    again = as_keras_hub(again) if case.name == "Bert" else again
    assert torch.equal(hf_models.logits(again), expected)


@pytest.mark.parametrize("case", CASES, ids=hf_models.label)
def test_a_growth_in_keras_is_one_in_transformers(case, tmp_path):
    expected = hf_models.logits(saved(case, tmp_path))
    with warned(case):
        model = hub.load_folder(tmp_path / "small")
    receipt = model.grow(GROWTHS.get(case.name, GROWTH), "net2net", seed=0)
    assert receipt.exact, receipt.claims
    hub.save_folder(model, tmp_path / "grown")
    grown = hf_models.loaded(
        getattr(transformers, case.model), tmp_path / "grown"
    )
    grown = as_keras_hub(grown) if case.name == "Bert" else grown
    after = hf_models.logits(grown)
    assert relative(keras_logits(model.network, after), after) <= 1e-5
    old = after.numpy()[..., : expected.shape[-1]]
    assert relative(old, expected) <= 1e-5
    (data,) = json.loads((tmp_path / "grown" / RECEIPTS).read_text())
    assert data["exact"] and "Growth 1" in (
        tmp_path / "grown" / "README.md"
    ).read_text("utf-8")


def test_bfloat16_comes_back_to_the_bit_and_in_shards(tmp_path):
    case = CASES[0]
    saved(case, tmp_path, torch.bfloat16)
    task, folder = read_task(tmp_path / "small")
    hub.save_folder(task, tmp_path / "again", like=folder, shard_bytes=4000)
    before, after = (
        hf.open_checkpoint(tmp_path / name) for name in ("small", "again")
    )
    assert len({t.file for t in after.tensors.values()}) > 1
    for name, tensor in after.tensors.items():
        assert tensor.dtype == "BF16"
        np.testing.assert_array_equal(
            tensor.read(), before.tensors[name].read()
        )


# --- refusals ----------------------------------------------------------------


def config_of(name, **changes):
    case = next(c for c in CASES if c.name == name)
    config = getattr(transformers, case.config)(**case.options)
    return {**config.to_dict(), "architectures": [case.model], **changes}


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("Llama", {"model_type": "olmo2"}, "no task of KerasHub"),
        ("Llama", {"architectures": ["LlamaForSequence"]}, "has no task"),
        ("Llama", {"head_dim": 8}, "6 entries each"),
        ("Llama", {"hidden_act": "relu"}, "hidden_act in"),
        ("Mistral", {"tie_word_embeddings": True}, "tie_word_embeddings in"),
        (
            "Mistral",
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
            "rope_type='yarn'",
        ),
        ("Qwen2", {"use_sliding_window": True}, "to all blocks or to none"),
        ("Gemma", {"hidden_activation": "relu"}, "hidden_activation in"),
        ("Gemma", {"rope_parameters": {"rope_theta": 5.0}}, "wavelength of"),
        ("Gemma2", {"query_pre_attn_scalar": 5}, "query_pre_attn_scalar=5"),
        (
            "Gemma3",
            {"layer_types": ["full_attention"] * 2},
            "every 6th block sees all",
        ),
        ("GPT2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
    ],
)
def test_what_keras_hub_does_not_compute_is_refused(name, changes, message):
    config = config_of(name, **changes)
    with pytest.raises(GrowthError, match=message):
        table = hub_table_of(config)
        table.task_of(config)
        table.backbone_config(config)


@pytest.mark.parametrize(
    "target, message",
    [
        ({"num_layers": 3}, "to multiples of 2"),
        ({"hidden_dim": 48}, "stored minus one"),
    ],
)
def test_what_gemma_cannot_grow_in_keras_says_why(target, message, tmp_path):
    saved(next(c for c in CASES if c.name == "Gemma2"), tmp_path)
    model = hub.load_folder(tmp_path / "small")
    with pytest.raises(GrowthError, match=message):
        model.grow(target, "identity")


def test_a_tensor_without_a_variable_is_refused(tmp_path):
    case = dataclasses.replace(
        CASES[0], options={**CASES[0].options, "attention_bias": True}
    )
    saved(case, tmp_path)
    with pytest.raises(GrowthError, match=r"_proj.bias' has no place"):
        read_task(tmp_path / "small")


def test_norms_with_another_constant_are_warned_of(tmp_path):
    case = next(c for c in CASES if c.name == "Qwen3")
    options = {**case.options, "rms_norm_eps": 1e-6}
    saved(dataclasses.replace(case, options=options), tmp_path)
    with pytest.warns(UserWarning, match="add 1e-05 to the variance"):
        read_task(tmp_path / "small")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    saved(CASES[0], tmp_path)
    task, folder = read_task(tmp_path / "small")
    with pytest.raises(GrowthError, match="was not read from one"):
        hub.save_folder(task, tmp_path / "new")
    with pytest.raises(FileError, match="there already"):
        hub.save_folder(task, folder, like=folder)
    other = next(c for c in CASES if c.name == "GPT2")
    (tmp_path / "other").mkdir()
    saved(other, tmp_path / "other")
    with pytest.raises(GrowthError, match="Received: a Llama3CausalLM"):
        hub.save_folder(task, tmp_path / "new", tmp_path / "other" / "small")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "small"]
