"""GPT-2: learned positions, LayerNorm, queries, keys and values packed.

Its linear layers (`Conv1D`) store (in, out), the other way round than
PyTorch's.
"""

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.hf.architectures.decoder import tied_head
from kgrow.hf.architectures.linear_rules import check_divides
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import Packed, TensorTable

_BLOCK = r"(transformer\.)?h\.{layers}\."

_RULES = {
    r"attn\.c_attn\.weight": Packed(
        1,
        {
            "query": "hidden -> [heads qk] | qk^0.5",
            "key": "hidden -> [heads ~qk]",
            "value": "hidden -> [heads value]",
        },
    ),
    r"attn\.c_attn\.bias": Packed(
        0,
        {
            "query": "-> [heads qk] | qk^0.5",
            "key": "-> [heads ~qk]",
            "value": "-> [heads value]",
        },
    ),
    r"attn\.c_proj\.weight": "[heads value] -> hidden | residual_out",
    r"attn\.c_proj\.bias": "-> hidden | residual_out",
    r"mlp\.c_fc\.weight": "hidden -> ffn",
    r"mlp\.c_fc\.bias": "-> ffn",
    r"mlp\.c_proj\.weight": "ffn -> hidden | residual_out",
    r"mlp\.c_proj\.bias": "-> hidden | residual_out",
    r"ln_[12]\.weight": "-> hidden | scale",
    r"ln_[12]\.bias": "-> hidden | offset",
}


@register("gpt2")
def gpt2(config):
    """GPT-2. Growing `n_embd` alone makes the heads larger, growing `n_head`
    with it makes more of them."""
    tied = tied_head(config, True)
    last = "-> ~hidden" if tied else "-> hidden"
    rules = {
        r"(transformer\.)?wte\.weight": "vocab -> hidden",
        r"(transformer\.)?wpe\.weight": "positions -> hidden",
        **{_BLOCK + path: rule for path, rule in _RULES.items()},
        r"(transformer\.)?ln_f\.weight": f"{last} | scale",
        r"(transformer\.)?ln_f\.bias": f"{last} | offset",
    }
    ignored = [_BLOCK.format(layers=r"\d+") + r"attn\.(masked_)?bias"]
    if tied:
        ignored.append(r"lm_head\.weight")
    else:
        rules[r"lm_head\.weight"] = "-> vocab ~hidden"
    return TensorTable(
        rules=rules,
        dims=(
            Dim("hidden", "n_embd", kind="stream", norm="layer"),
            Dim("ffn", "n_inner"),
            Dim("heads", "n_head"),
            Dim("qk", "n_embd", kind="stream"),
            Dim("value", "n_embd", kind="stream"),
            Dim("vocab", "vocab_size", kind="lookup"),
            Dim("positions", "n_positions", kind="lookup"),
        ),
        stacks=(BlockStack("layers", "n_layer", norm="pre"),),
        sizes=_sizes,
        outputs="_ _ -> vocab",
        ignored=tuple(ignored),
        settle=_settle,
    )


def _sizes(config):
    width, heads = config["n_embd"], config["n_head"]
    check_divides("n_head", heads, "n_embd", width)
    return {
        "hidden": width,
        "ffn": config.get("n_inner") or 4 * width,
        "heads": heads,
        "qk": width // heads,
        "value": width // heads,
        "vocab": config["vocab_size"],
        "positions": config["n_positions"],
    }


def _settle(target, source, asked):
    """What the number of a block decides does not move with the block."""
    if "n_layer" in asked and source.get("scale_attn_by_inverse_layer_idx"):
        raise GrowthError(
            "`scale_attn_by_inverse_layer_idx` divides scores by the number of "
            "the block, so that a block computes something else where it "
            "moves. The depth of this model does not grow."
        )
    if "n_ctx" in target:
        target["n_ctx"] = target["n_positions"]
    return target
