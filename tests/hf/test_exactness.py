"""Grown folders, loaded by `transformers`: what claims to be exact is.

Every architecture by strategies that claim it, with noise in every weight, so
that no gain of one and no bias of zero hides an error.
"""

import dataclasses
import math

import keras
import pytest

from kgrow import hf
from kgrow.algebra.rounding import tolerance

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# Nothing here depends on the backend; transformers runs on torch.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="transformers runs on torch"
)

_TOKENS = torch.arange(20).reshape(2, 10)


@dataclasses.dataclass(frozen=True)
class Case:
    """A tiny configuration, and growths that claim to be exact."""

    name: str
    config: str
    model: str
    options: dict
    growths: tuple


DECODER = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 32,
    "head_dim": 6,
}
WIDER = {"hidden_size": 36, "intermediate_size": 50, "num_hidden_layers": 3}
DECODER_GROWTHS = (
    ("llama_pro", {"num_hidden_layers": 5}),
    ("lemon", {**WIDER, "vocab_size": 44}),
    ("hypercloning", {"hidden_size": 48, "num_key_value_heads": 4}),
    ("net2net", {"hidden_size": 48, "num_attention_heads": 8}),
    ("direct", {"intermediate_size": 48, "num_hidden_layers": 3}),
)
# Heads whose own size grows: not where queries and keys are normalised.
HEADS = ("net2net", {"head_dim": 12, "hidden_size": 48})

GPT2 = {
    "n_embd": 24,
    "n_head": 4,
    "n_layer": 2,
    "vocab_size": 40,
    "n_positions": 32,
}
GPT2_GROWTHS = (
    ("llama_pro", {"n_layer": 4}),
    ("lemon", {"n_embd": 36, "n_layer": 3, "n_positions": 40}),
    ("lemon", {"n_embd": 36, "n_head": 6, "vocab_size": 50}),
    ("net2net", {"n_embd": 48, "n_head": 8}),
    ("hypercloning", {"n_embd": 48}),
)

ENCODER = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": 32,
}
ENCODER_GROWTHS = (
    ("lemon", {"num_hidden_layers": 4}),
    ("identity", {"num_hidden_layers": 3, "intermediate_size": 40}),
    ("net2net", {"hidden_size": 48, "num_attention_heads": 8}),
    ("hypercloning", {"hidden_size": 48, "intermediate_size": 80}),
)


def _decoders():
    untied = {"tie_word_embeddings": False}
    tied = {"tie_word_embeddings": True}
    windows = {
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    for name, more, growths in (
        ("Llama", untied, (HEADS,)),
        ("Llama", {**tied, "num_key_value_heads": 4}, (HEADS,)),
        ("Llama", {**untied, "num_key_value_heads": 1}, (HEADS,)),
        ("Mistral", {**untied, "sliding_window": 4}, (HEADS,)),
        ("Qwen2", tied, (HEADS,)),
        ("Qwen3", untied, ()),
        ("Gemma", {**tied, "num_key_value_heads": 1}, (HEADS,)),
        ("Gemma2", {**tied, **windows}, (HEADS,)),
        ("Gemma3", {**tied, **windows}, ()),
    ):
        config = "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config"
        options = {**DECODER, **more}
        growths = (*DECODER_GROWTHS, *growths)
        if options["num_key_value_heads"] == 1:
            # One head for all: there is none to set beside it.
            growths = [g for g in growths if g[0] != "hypercloning"]
        if "layer_types" in more:
            growths = [g for g in growths if g[0] != "direct"]
        yield Case(name, config, f"{name}ForCausalLM", options, tuple(growths))


CASES = [
    *_decoders(),
    Case("GPT2", "GPT2Config", "GPT2LMHeadModel", GPT2, GPT2_GROWTHS),
    Case(
        "GPT2",
        "GPT2Config",
        "GPT2LMHeadModel",
        {**GPT2, "tie_word_embeddings": False, "n_inner": 50},
        GPT2_GROWTHS,
    ),
    Case("Bert", "BertConfig", "BertForMaskedLM", ENCODER, ENCODER_GROWTHS),
    Case(
        "Bert",
        "BertConfig",
        "BertForSequenceClassification",
        ENCODER,
        ENCODER_GROWTHS,
    ),
    Case(
        "Roberta",
        "RobertaConfig",
        "RobertaForMaskedLM",
        {**ENCODER, "layer_norm_eps": 1e-12},
        ENCODER_GROWTHS,
    ),
]


def _label(case):
    head = "tied" if case.options.get("tie_word_embeddings", True) else "untied"
    kv = case.options.get("num_key_value_heads", "")
    return f"{case.model}-{head}{kv and f'-kv{kv}'}"


def small_model(case):
    """The network with noise in every weight."""
    config = getattr(transformers, case.config)(**case.options)
    torch.manual_seed(0)
    model = getattr(transformers, case.model)(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return model


def loaded(cls, folder):
    """A model of a folder, every weight of which the folder has."""
    model, found = cls.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(_TOKENS).logits


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.mark.parametrize("case", CASES, ids=_label)
def test_exact_growths_keep_the_logits(case, tmp_path):
    model = small_model(case)
    model.save_pretrained(tmp_path / "small")
    before = logits(model)
    for number, (strategy, target) in enumerate(case.growths):
        out = tmp_path / f"grown{number}"
        receipt = hf.grow(tmp_path / "small", target, strategy, out=out, seed=1)
        assert receipt.exact, (strategy, receipt.claims)
        grown = loaded(type(model), out)
        for field, size in target.items():
            assert getattr(grown.config, field) == size
        after = logits(grown)[..., : before.shape[-1]]
        width = max(grown.config.hidden_size, 64)
        bound = tolerance("float32", width, 4 * grown.config.num_hidden_layers)
        bound = min(bound, 1e-5) + receipt.within
        worst = float((after - before).abs().max() / before.abs().max())
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
    strategy = Combine(width="lemon", depth=[0, 1, 1])
    target = {"hidden_size": 36, "num_hidden_layers": 3}
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
