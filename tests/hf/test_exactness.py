"""Grown folders, loaded by `transformers`: what claims to be exact is.

Every architecture by strategies that claim it; the cases are those of the table
in `docs/safetensors.md`.
"""

import dataclasses
import math
import shutil

import keras
import pytest

from kgrow import GrowthError, hf
from kgrow.algebra.rounding import tolerance

hf_models = pytest.importorskip("docs.tools.hf_models")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# Nothing here depends on the backend; transformers runs on torch.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="transformers runs on torch"
)

CASES = hf_models.CASES
loaded, logits = hf_models.loaded, hf_models.logits
small_model = hf_models.small_model


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.mark.sample
@pytest.mark.parametrize("case", CASES, ids=hf_models.label)
def test_exact_growths_keep_the_logits(case, tmp_path):
    model = small_model(case)
    model.save_pretrained(tmp_path / "small")
    for number, (strategy, target) in enumerate(case.growths):
        receipt, grown, worst = hf_models.grown(
            model, tmp_path, number, strategy, target
        )
        assert receipt.exact, (strategy, receipt.claims)
        for field, size in target.items():
            assert getattr(grown.config, field) == size
        width = max(grown.config.hidden_size, 64)
        bound = tolerance("float32", width, 4 * grown.config.num_hidden_layers)
        bound = min(bound, 1e-5) + receipt.within
        assert worst <= bound, (strategy, worst)


def test_what_is_not_exact_says_so(tmp_path):
    case = CASES[0]
    model = small_model(case)
    model.save_pretrained(tmp_path / "small")
    for strategy in ("stack", "interpolate", "solar"):
        out = tmp_path / strategy
        receipt = hf.grow(
            tmp_path / "small", {"num_hidden_layers": 3}, strategy, out=out
        )
        assert not receipt.exact
        assert math.isfinite(float(logits(loaded(type(model), out)).sum()))


def test_combined_strategies_and_lists_of_blocks(tmp_path):
    from kgrow.strategies import Combine

    model = small_model(CASES[0])
    model.save_pretrained(tmp_path / "small")
    strategy = Combine(width="net2net", depth=[0, 1, 1])
    target = {"hidden_size": 48, "num_hidden_layers": 3}
    hf.grow(tmp_path / "small", target, strategy, out=tmp_path / "grown")
    grown = loaded(type(model), tmp_path / "grown")
    assert grown.config.num_hidden_layers == 3
    one, two = grown.model.layers[1:]
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_window_moves_with_its_block(tmp_path):
    """Which blocks see a window only follows the blocks that are copied."""
    case = next(c for c in CASES if c.name == "Gemma2")
    small_model(case).save_pretrained(tmp_path / "small")
    target = {"num_hidden_layers": 3}
    hf.grow(tmp_path / "small", target, "identity", out=tmp_path / "grown")
    grown = transformers.AutoConfig.from_pretrained(tmp_path / "grown")
    slides, full = case.options["layer_types"]
    assert grown.layer_types in ([slides, slides, full], [slides, full, full])


def _case(name, **options):
    case = next(c for c in CASES if c.name == name)
    return dataclasses.replace(case, options={**case.options, **options})


HEAD = {"head_dim": 12, "hidden_size": 48}


@pytest.mark.parametrize(
    "case, wrong, right",
    [
        (_case("Phi"), HEAD, {"num_attention_heads": 8}),
        (
            _case("Phi", qk_layernorm=True),
            {"hidden_size": 36},
            {"hidden_size": 48, "num_attention_heads": 8},
        ),
        (_case("GPTNeoX"), {"hidden_size": 40, "num_attention_heads": 4}, {}),
        (
            _case("Phi3", rope_parameters=hf_models.PART_TURNED),
            HEAD,
            {"num_key_value_heads": 4},
        ),
        (_case("Olmo", clip_qkv=0.3), HEAD, {"hidden_size": 48}),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_heads_that_cannot_grow_say_why(case, wrong, right, tmp_path):
    model = small_model(case)
    model.save_pretrained(tmp_path / "small")
    with pytest.raises(GrowthError, match="keep their size"):
        hf.grow(tmp_path / "small", wrong, "net2net", out=tmp_path / "out")
    if right:
        receipt, _, worst = hf_models.grown(
            model, tmp_path, 0, "net2net", right
        )
        assert receipt.exact and worst <= 1e-5


@pytest.mark.parametrize(
    "model_type, options, match",
    [
        ("opt", {"word_embed_proj_dim": 16}, "word_embed_proj_dim=16"),
        ("opt", {"do_layer_norm_before": False}, "behind its branches"),
        ("deberta-v2", {"conv_kernel_size": 3}, "conv_kernel_size=3"),
        ("deberta-v2", {"embedding_size": 16}, "embedding_size=16"),
        ("phi", {"tie_word_embeddings": True}, "tied to the embeddings"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, r"mlp_only_layers=\[0\]"),
        ("qwen2_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step=2"),
        ("olmoe", {"clip_qkv": 8.0}, "clip_qkv=8.0"),
    ],
)
def test_variants_without_a_table_are_refused(model_type, options, match):
    config = {"model_type": model_type, "hidden_size": 24, **options}
    with pytest.raises(GrowthError, match=match):
        hf.table_of(config)


def test_heads_under_a_common_norm_grow_exactly_by_whole_multiples(tmp_path):
    case = _case("Olmo2")
    model = small_model(case)
    model.save_pretrained(tmp_path / "small")
    for number, (heads, exact) in enumerate([(4, True), (3, False)]):
        target = {"num_key_value_heads": heads}
        receipt, _, worst = hf_models.grown(
            model, tmp_path, number, "net2net", target
        )
        assert receipt.exact == exact == (worst <= 1e-5)


def test_a_field_that_no_tensor_follows_is_refused(tmp_path):
    small_model(_case("DebertaV2")).save_pretrained(tmp_path / "small")
    for field in ("type_vocab_size", "max_position_embeddings"):
        with pytest.raises(GrowthError, match="no field that sets a size"):
            hf.grow(
                tmp_path / "small", {field: 40}, "net2net", out=tmp_path / "out"
            )


MORE = {"num_experts": 8, "num_experts_per_tok": 4}


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """A small model with experts, and the folder above its own, `small`."""
    folder = tmp_path_factory.mktemp("experts")
    model = small_model(_case("Qwen2Moe", num_hidden_layers=1))
    model.save_pretrained(folder / "small")
    return model, folder


@pytest.mark.parametrize(
    "strategy, target, reason",
    [
        ("net2net", {"num_experts": 8}, "num_experts_per_tok` has to grow"),
        ("net2net", {"num_experts_per_tok": 4}, "has to grow"),
        ("direct", MORE, "takes new entries into account"),
    ],
    ids=["fixed k", "k alone", "new experts"],
)
def test_other_experts_than_before_are_not_claimed(
    strategy, target, reason, experts, tmp_path
):
    model, folder = experts
    (tmp_path / "small").symlink_to(folder / "small")
    receipt, grown, worst = hf_models.grown(
        model, tmp_path, 0, strategy, target
    )
    assert not receipt.exact and reason in receipt.claims["experts"]
    assert 1e-3 < worst < 2
    for field, value in target.items():
        assert getattr(grown.config, field) == value


def test_experts_that_are_copied_are_copied_to_the_bit(experts, tmp_path):
    model, folder = experts
    (tmp_path / "small").symlink_to(folder / "small")
    _, grown, _ = hf_models.grown(model, tmp_path, 0, "hypercloning", MORE)
    small, large = (m.model.layers[0].mlp for m in (model, grown))
    for name in ("gate_up_proj", "down_proj"):
        old, new = (getattr(m.experts, name) for m in (small, large))
        if name == "gate_up_proj":
            assert torch.equal(new, torch.cat([old, old]))
        # Noise that copies cannot see parts them; it adds up to nothing.
        torch.testing.assert_close(new[:4] + new[4:], 2 * old)
    assert torch.equal(large.gate.weight, torch.cat([small.gate.weight] * 2))


def test_large_experts_grow_in_windows(experts, tmp_path, monkeypatch):
    model, folder = experts
    (tmp_path / "small").symlink_to(folder / "small")
    target = {**MORE, "moe_intermediate_size": 32}
    _, whole, _ = hf_models.grown(model, tmp_path, 0, "net2net", target)
    monkeypatch.setattr("kgrow.hf.tensor_growth.WINDOW_BYTES", 256)
    _, parts, _ = hf_models.grown(model, tmp_path, 1, "net2net", target)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_expert_that_is_missing_is_refused(experts, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(experts[1] / "small", tmp_path / "small")
    file = tmp_path / "small" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.0.mlp.experts.1.up_proj.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(GrowthError, match=r"without gaps. Received: \[0, 2, 3"):
        hf.grow(tmp_path / "small", MORE, "net2net", out=tmp_path / "out")


def test_more_experts_cannot_be_taken_than_there_are(experts, tmp_path):
    with pytest.raises(GrowthError, match="num_experts_per_tok=9"):
        hf.grow(
            experts[1] / "small",
            {"num_experts": 8, "num_experts_per_tok": 9},
            "net2net",
            out=tmp_path / "out",
        )
