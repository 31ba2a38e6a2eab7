"""Tiny models of `transformers`, grown as folders, and what they keep.

One case per architecture and kind of head; noise stands in every weight, so
that no gain of one and no bias of zero hides an error. The tests run the same
cases.
"""

import dataclasses
import pathlib
import tempfile


@dataclasses.dataclass(frozen=True)
class Case:
    """A tiny configuration, and growths that claim to be exact.

    `kind` says what else tells it from others of its class.
    """

    name: str
    config: str
    model: str
    options: dict
    growths: tuple
    kind: str = ""


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


def decoders():
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
    *decoders(),
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

PHI_GROWTHS = (
    ("llama_pro", {"num_hidden_layers": 4}),
    ("lemon", {**WIDER, "vocab_size": 44}),
    ("hypercloning", {"hidden_size": 48, "num_attention_heads": 8}),
    ("net2net", {"hidden_size": 48, "num_attention_heads": 8}),
    ("direct", {"intermediate_size": 48, "num_hidden_layers": 3}),
)
NEOX_GROWTHS = (
    ("llama_pro", {"num_hidden_layers": 4}),
    ("lemon", {**WIDER, "vocab_size": 44}),
    ("hypercloning", {"hidden_size": 48}),
    ("net2net", {"num_attention_heads": 8}),
    ("direct", {"intermediate_size": 48, "num_hidden_layers": 3}),
)
OPT = {
    "hidden_size": 24,
    "word_embed_proj_dim": 24,
    "ffn_dim": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": 32,
}
OPT_GROWTHS = (
    ("llama_pro", {"num_hidden_layers": 4}),
    ("lemon", {"hidden_size": 36, "max_position_embeddings": 40}),
    ("net2net", {"hidden_size": 48, "num_attention_heads": 8}),
    ("hypercloning", {"hidden_size": 48, "ffn_dim": 80}),
    ("direct", {"ffn_dim": 48, "num_hidden_layers": 3}),
)
VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 8,
    "patch_size": 4,
    "num_labels": 5,
}
VISION_GROWTHS = (
    ("llama_pro", {"num_hidden_layers": 4}),
    ("lemon", {"hidden_size": 36, "num_hidden_layers": 3}),
    ("net2net", {"hidden_size": 48, "num_attention_heads": 8}),
    ("hypercloning", {"hidden_size": 48, "intermediate_size": 80}),
    ("direct", {"intermediate_size": 48, "num_hidden_layers": 3}),
)
DEBERTA = {
    **ENCODER,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 8,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pooler_hidden_size": 24,
    "layer_norm_eps": 1e-12,
}
PART_TURNED = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.34,
}


def others():
    neox = {
        name: size
        for name, size in DECODER.items()
        if name not in ("num_key_value_heads", "head_dim")
    }
    heads = {**neox, "num_key_value_heads": 4}
    turned = {"rope_parameters": PART_TURNED, "tie_word_embeddings": False}
    yield Case(
        "Phi", "PhiConfig", "PhiForCausalLM", {**heads, **turned}, PHI_GROWTHS
    )
    yield Case(
        "Phi",
        "PhiConfig",
        "PhiForCausalLM",
        {**heads, **turned, "qk_layernorm": True},
        tuple(g for g in PHI_GROWTHS if g[0] != "lemon"),
        "norms of heads",
    )
    for parallel in (True, False):
        yield Case(
            "GPTNeoX",
            "GPTNeoXConfig",
            "GPTNeoXForCausalLM",
            {**neox, **turned, "use_parallel_residual": parallel},
            NEOX_GROWTHS,
            "parallel branches" if parallel else "",
        )
    yield Case(
        "Phi3",
        "Phi3Config",
        "Phi3ForCausalLM",
        {**DECODER, "pad_token_id": 0, "tie_word_embeddings": False},
        (*DECODER_GROWTHS, HEADS),
    )
    yield Case("OPT", "OPTConfig", "OPTForCausalLM", OPT, OPT_GROWTHS)
    yield Case(
        "Olmo",
        "OlmoConfig",
        "OlmoForCausalLM",
        {**heads, "pad_token_id": 0, "tie_word_embeddings": False},
        DECODER_GROWTHS,
    )
    yield Case(
        "Olmo2",
        "Olmo2Config",
        "Olmo2ForCausalLM",
        {**DECODER, "pad_token_id": 0, "tie_word_embeddings": False},
        DECODER_GROWTHS,
    )
    yield Case(
        "Olmo3",
        "Olmo3Config",
        "Olmo3ForCausalLM",
        {
            **DECODER,
            "pad_token_id": 0,
            "tie_word_embeddings": False,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        tuple(g for g in DECODER_GROWTHS if g[0] != "direct"),
    )
    for shared in (True, False):
        yield Case(
            "DebertaV2",
            "DebertaV2Config",
            "DebertaV2ForMaskedLM",
            {
                **DEBERTA,
                "share_att_key": shared,
                "position_biased_input": not shared,
            },
            (
                *ENCODER_GROWTHS,
                *[("net2net", {"max_position_embeddings": 40})] * (not shared),
            ),
            "" if shared else "positions apart",
        )
    for name, model in (
        ("ViT", "ViTForImageClassification"),
        ("DeiT", "DeiTForImageClassificationWithTeacher"),
    ):
        yield Case(name, f"{name}Config", model, VISION, VISION_GROWTHS)


def experts():
    common = {
        **DECODER,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "num_experts_per_tok": 2,
    }
    inner = {"moe_intermediate_size": 20}
    for name, more, wider in (
        ("Mixtral", {"num_local_experts": 4}, "intermediate_size"),
        ("Olmoe", {"num_experts": 4}, "intermediate_size"),
        (
            "Qwen2Moe",
            {
                **inner,
                "num_experts": 4,
                "shared_expert_intermediate_size": 28,
            },
            "shared_expert_intermediate_size",
        ),
        (
            "Qwen3Moe",
            {**inner, "num_experts": 4},
            "moe_intermediate_size",
        ),
    ):
        local = name in ("Mixtral", "Qwen3Moe")  # as `transformers` writes
        number = "num_local_experts" if local else "num_experts"
        more_experts = {number: 8, "num_experts_per_tok": 4}
        # Heads of OLMoE are as wide as the network, all together.
        wide = wider if name == "Olmoe" else "hidden_size"
        yield Case(
            name,
            f"{name}Config",
            f"{name}ForCausalLM",
            {**common, **more},
            (
                ("llama_pro", {"num_hidden_layers": 4}),
                ("lemon", {wide: 60, "num_hidden_layers": 3}),
                (
                    "hypercloning",
                    {"hidden_size": 48, "num_key_value_heads": 4},
                ),
                ("net2net", {"hidden_size": 48, wider: 56}),
                ("net2net", {**more_experts, wider: 56}),
                ("hypercloning", more_experts),
                ("direct", {wider: 56, "num_hidden_layers": 3}),
            ),
        )


CASES += others()
CASES += experts()


def label(case):
    tied = case.options.get("tie_word_embeddings", True)
    head = "tied" if tied else "untied"
    if "image_size" in case.options:
        head = "own"
    kv = case.options.get("num_key_value_heads", "")
    kind = case.kind and f"-{case.kind}"
    return f"{case.model}-{head}{kv and f'-kv{kv}'}{kind}"


def small_model(case):
    """The network with noise in every weight."""
    import torch
    import transformers

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
    import torch

    inputs = torch.arange(20).reshape(2, 10)
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        inputs = torch.sin(torch.arange(6 * size**2).reshape(2, 3, size, size))
    with torch.no_grad():
        return model(inputs).logits


def grown(model, folder, number, strategy, target):
    """Grows a saved model: `(receipt, grown model, relative difference)`."""
    from kgrow import hf

    before, out = logits(model), folder / f"grown{number}"
    receipt = hf.grow(folder / "small", target, strategy, out=out, seed=1)
    large = loaded(type(model), out)
    after = logits(large)[..., : before.shape[-1]]
    worst = float((after - before).abs().max() / before.abs().max())
    return receipt, large, worst


def exactness_table():
    """The table of `docs/safetensors.md`, measured."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    names = ("llama_pro", "identity", "lemon", "net2net", "hypercloning")
    names += ("direct",)
    lines = ["| model | head | " + " | ".join(names) + " |"]
    lines += ["|---|---|" + "---|" * len(names)]
    for case in CASES:
        worst = {}
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model = small_model(case)
            model.save_pretrained(folder / "small")
            for number, (strategy, target) in enumerate(case.growths):
                receipt, _, error = grown(
                    model, folder, number, strategy, target
                )
                assert receipt.exact, (case.model, strategy)
                worst[strategy] = max(worst.get(strategy, 0.0), error)
        name, *kind = label(case).split("-")
        cells = [_cell(worst.get(n)) for n in names]
        lines.append(f"| `{name}` | {', '.join(kind)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(error):
    if error is None:
        return ""
    return f"{error:.0e}" if error else "0"
