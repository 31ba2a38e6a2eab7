"""Published results on growing, as data: one finding a row.

`SAVINGS` are measured savings, normalised to `1 - cost / cost from scratch`;
papers that print a speed-up of x have it turned into `1 - 1 / x`. `RULES` are
conditions under which something is to be done, or better left. Each row names
the place that it rests on. Where only an abstract was at hand, the source says
so.
"""

from collections.abc import Callable
from dataclasses import dataclass

LIGO = "Wang et al., LiGO (2303.00980)"
MANGO = "Pan et al., Mango (2310.10699)"
MSG = "Yao et al., MSG (2305.02869)"
COMPOUND = "Gu et al., CompoundGrow (2010.12562)"
G_STACK = "Du et al., Stacking Your Transformers (2405.15319)"
ONE_LAYER = "Bu, Zero/One-Layer Model Expansion (2511.04981), abstract"
NO_GAIN = "Kaddour et al., No Train No Gain (2307.06440)"

# Beyond that many tokens for a parameter, growing probably does not pay.
MANY_TOKENS = 20


@dataclass(frozen=True)
class Saving:
    """One published saving.

    Args:
        strategy: string, its name in kgrow.
        family: string, see `Case`.
        grows: frozenset of directions.
        trained: bool, whether it starts from a small model that is there.
        low: float, the smallest saving that a paper reports in the setting.
        high: float, the largest.
        counts_source: bool, whether the small model's cost is counted.
        setting: string.
        source: string.
    """

    strategy: str
    family: str
    grows: frozenset
    trained: bool
    low: float
    high: float
    counts_source: bool
    setting: str
    source: str


def _saving(strategy, family, grows, trained, low, high, counts, *texts):
    return Saving(
        strategy, family, frozenset(grows), trained, low, high, counts, *texts
    )


SAVINGS = (
    # Vision, from a trained model.
    _saving(
        "mango",
        "vision",
        {"width"},
        True,
        0.764,
        0.764,
        False,
        "DeiT-S to DeiT-B, FLOPs",
        f"{MANGO}, Table 6",
    ),
    _saving(
        "mango",
        "vision",
        {"depth"},
        True,
        0.588,
        0.588,
        False,
        "Swin-T to Swin-S, FLOPs",
        f"{MANGO}, appendix, Figure 8",
    ),
    _saving(
        "aki",
        "vision",
        {"width"},
        True,
        0.644,
        0.644,
        False,
        "DeiT-S to DeiT-B, FLOPs",
        f"{MANGO}, Table 6",
    ),
    _saving(
        "ligo",
        "vision",
        {"width"},
        True,
        0.554,
        0.557,
        False,
        "DeiT-S to DeiT-B, FLOPs; two laboratories",
        f"{LIGO}, Figure 4; {MANGO}, Table 6",
    ),
    # Encoders, from a trained model.
    _saving(
        "mango",
        "encoder",
        {"width"},
        True,
        0.392,
        0.392,
        False,
        "BERT, 384 to 768 wide, FLOPs",
        f"{MANGO}, Table 7",
    ),
    _saving(
        "aki",
        "encoder",
        {"width"},
        True,
        0.356,
        0.356,
        False,
        "BERT, 384 to 768 wide, FLOPs",
        f"{MANGO}, Table 7",
    ),
    _saving(
        "ligo",
        "encoder",
        {"width"},
        True,
        0.335,
        0.416,
        False,
        "BERT, width alone, FLOPs",
        f"{MANGO}, Table 7; {LIGO}, Figure 6",
    ),
    _saving(
        "ligo",
        "encoder",
        {"width", "depth"},
        True,
        0.303,
        0.472,
        False,
        "BERT and RoBERTa, Small to Base and Base to Large, FLOPs",
        f"{LIGO}, Figures 2 and 3",
    ),
    _saving(
        "aki",
        "encoder",
        {"width", "depth"},
        True,
        0.29,
        0.29,
        False,
        "BERT-Small to Base, FLOPs",
        f"{LIGO}, Figure 2",
    ),
    _saving(
        "ligo",
        "encoder",
        {"depth"},
        True,
        0.517,
        0.517,
        False,
        "BERT, depth alone, FLOPs",
        f"{LIGO}, Figure 6",
    ),
    # Encoders, one run.
    _saving(
        "msg",
        "encoder",
        {"width", "ffn", "depth"},
        False,
        0.442,
        0.546,
        True,
        "BERT-base and BERT-large, wall time",
        f"{MSG}, Tables 4 and 5",
    ),
    _saving(
        "compoundgrow",
        "encoder",
        {"ffn", "depth"},
        False,
        0.424,
        0.451,
        True,
        "BERT-base and BERT-large, wall time",
        f"{COMPOUND}, Table 2",
    ),
    _saving(
        "stack",
        "encoder",
        {"depth"},
        False,
        0.25,
        0.411,
        True,
        "BERT-base and BERT-large, wall time",
        f"Gong et al. (ICML 2019); {COMPOUND}, Table 2",
    ),
    # Decoders.
    _saving(
        "ligo",
        "decoder",
        {"width", "depth"},
        True,
        0.225,
        0.225,
        False,
        "GPT2-Base to Medium, FLOPs",
        f"{LIGO}, Figure 3",
    ),
    _saving(
        "hypercloning",
        "decoder",
        {"width"},
        True,
        0.5,
        0.75,
        False,
        "OPT, Pythia and OLMo, twice as wide, tokens to the accuracy of the "
        "baseline; as others quote it",
        "Samragh et al., HyperCloning (2409.12903)",
    ),
    _saving(
        "msg",
        "decoder",
        {"width", "ffn", "depth"},
        False,
        0.276,
        0.284,
        True,
        "GPT-2 of 110M parameters, wall time",
        f"{MSG}, Table 5 and appendix",
    ),
    _saving(
        "staged",
        "decoder",
        {"width"},
        False,
        0.0,
        0.22,
        True,
        "GPT-2, twice as wide, compute; at most",
        "Shen et al., Staged Training (2203.06211), abstract",
    ),
    _saving(
        "stack",
        "decoder",
        {"depth"},
        False,
        0.237,
        0.353,
        True,
        "410M at 700B tokens to 7B at 300B, four times as deep, tokens",
        G_STACK,
    ),
    _saving(
        "stack",
        "decoder",
        {"depth"},
        True,
        0.237,
        0.353,
        True,
        "as from a small model that is trained for a few tokens",
        G_STACK,
    ),
)


@dataclass(frozen=True)
class Rule:
    """A condition on a case, and the advice that follows from it.

    Args:
        name: string.
        kind: `"against"`, which speaks against growing at all; `"warning"`;
            `"shape"`, about sizes; `"rate"`, about the learning rate; or
            `"alternative"`.
        when: function `(case, strategy)` that gives a bool.
        says: string, with fields of the case in braces.
        source: string.
    """

    name: str
    kind: str
    when: Callable
    says: str
    source: str


def _per_token(case):
    return case.tokens_per_parameter or 0


def _deep_decoder(case):
    return case.family == "decoder" and case.grows == {"depth"}


def _changed(case, field):
    old, new = case.config.get(field), case.target.get(field)
    return None not in (old, new) and old != new


def _source_per_parameter(case):
    if not case.source_tokens or not case.small_parameters:
        return 0
    return case.source_tokens / case.small_parameters


RULES = (
    Rule(
        "many tokens",
        "against",
        lambda case, s: (
            case.family != "vision"
            and _per_token(case) > MANY_TOKENS
            and not _deep_decoder(case)
        ),
        "{tokens_per_parameter:.0f} tokens for a parameter: beyond 20, what "
        "a grown start gives is mostly gone at the end",
        "2605.13405, abstract",
    ),
    Rule(
        "many tokens, depth",
        "warning",
        lambda case, s: _per_token(case) > MANY_TOKENS and _deep_decoder(case),
        "{tokens_per_parameter:.0f} tokens for a parameter: the evidence is "
        "divided. One study finds little left beyond 20; stacking a 410M "
        "model still paid at 700B tokens, less than early on",
        f"2605.13405, abstract; {G_STACK}",
    ),
    Rule(
        "much wider",
        "against",
        lambda case, s: case.width_factor > 4,
        "{width_factor:.1f} times as wide: beyond two to four times nothing "
        "published pays",
        "2605.13405, abstract",
    ),
    Rule(
        "wider",
        "warning",
        lambda case, s: 2 < case.width_factor <= 4,
        "{width_factor:.1f} times as wide: most evidence ends at twice",
        "2605.13405, abstract",
    ),
    Rule(
        "wide decoder, one run",
        "against",
        lambda case, s: (
            case.family == "decoder"
            and case.grows == {"width"}
            and case.source_tokens is None
            and case.width_factor != 2
        ),
        "a decoder that grows in width alone, everything counted, was slower "
        "than from scratch with each of four operators (by 0.7 to 17.9 %, "
        "1.1B, 100B tokens)",
        G_STACK,
    ),
    Rule(
        "wide decoder",
        "warning",
        lambda case, s: case.family == "decoder" and "width" in case.grows,
        "width pays least in decoders: one comparison of four operators found "
        "none that did. The code that was released with it mixes queries, keys "
        "and values where it widens, so that this may not be the last word",
        G_STACK,
    ),
    Rule(
        "deep stacking",
        "warning",
        lambda case, s: s == "stack" and case.depth_factor > 4,
        "{depth_factor:.0f} times as deep: stacking is best at two to four; "
        "one block alone is a poor base for it",
        G_STACK,
    ),
    Rule(
        "trained long",
        "warning",
        lambda case, s: _source_per_parameter(case) > MANY_TOKENS,
        "the small model has seen far more than 20 tokens for a parameter; the "
        "longer a source was trained, the less its growth gains. For a new "
        "domain, add blocks and train these alone ('llama_pro')",
        "2510.06548, abstract; Wu et al., LLaMA Pro (2401.02415)",
    ),
    Rule(
        "baseline",
        "warning",
        lambda case, s: True,
        "against runs whose learning rate is decayed to the same budget, "
        "published gains of stacking shrank or vanished. Measure with "
        "`kgrow.savings`",
        NO_GAIN,
    ),
    Rule(
        "source not counted",
        "warning",
        lambda case, s: case.source_tokens is not None and s != "stack",
        "these savings leave out what the small model had cost",
        f"{LIGO}, Sec. 4; {MANGO}",
    ),
    Rule(
        "two laboratories",
        "warning",
        lambda case, s: s in ("ligo", "aki") and case.family == "encoder",
        "laboratories disagree: bert2BERT saves 45 % by its own account, 36 % "
        "by Mango's and 29 % by LiGO's; LiGO 45 % and 34 %",
        f"{LIGO}, Figure 2; {MANGO}, Table 7",
    ),
    Rule(
        "rapid",
        "warning",
        lambda case, s: s == "msg" and case.source_tokens is None,
        "keep stages long: five growths within 100k steps cost BERT-large "
        "about 4 points of GLUE against one growth in a stage of 100k steps",
        f"{MSG}, Table 4, Rapid-L",
    ),
    Rule(
        "head size",
        "shape",
        lambda case, s: _changed(case, "head_dim"),
        "the size of a head grows. Published runs keep it and add heads; kgrow "
        "rescales the queries, which is exact, and with rotary positions "
        "places new frequencies beside the old",
        f"{MSG}, Table 2, where it is 64 throughout",
    ),
    Rule(
        "indivisible width",
        "shape",
        lambda case, s: (
            case.width_factor % 1 != 0 and s in ("hypercloning", "staged")
        ),
        "{width_factor:.2f} times as wide: this strategy needs whole "
        "multiples. 'lemon' (pre-norm) and 'msg' keep the function at any "
        "width",
        "the laws of docs/design.md",
    ),
    Rule(
        "inexact copies",
        "shape",
        lambda case, s: (
            case.width_factor % 1 != 0 and s in ("aki", "fpi", "net2net")
        ),
        "{width_factor:.2f} times as wide: copies pass a norm exactly only in "
        "equal numbers, so the loss will jump",
        "the laws of docs/design.md",
    ),
    Rule(
        "heads and width",
        "shape",
        lambda case, s: (
            _changed(case, "hidden_dim")
            and not _changed(case, "num_heads")
            and "num_heads" in case.config
            and not _changed(case, "head_dim")
        ),
        "the width grows and the heads do not. Published runs keep heads of 64 "
        "and grow their number with the width",
        f"{MSG}, Table 2; {LIGO}, Table 4",
    ),
    Rule(
        "multiples of depth",
        "shape",
        lambda case, s: s == "stack" and case.depth_factor % 1 != 0,
        "{depth_factor:.2f} times as deep: the published runs stack whole "
        "multiples",
        G_STACK,
    ),
    Rule(
        "stacked",
        "rate",
        lambda case, s: s == "stack" and case.family == "decoder",
        "begin the learning rate anew at its warm-up, with a fresh optimizer",
        f"{G_STACK}, its code",
    ),
    Rule(
        "stacked encoder",
        "rate",
        lambda case, s: (
            s in ("stack", "compoundgrow") and case.family == "encoder"
        ),
        "reset the learning rate to its highest at each growth",
        f"{COMPOUND}, Sec. 4",
    ),
    Rule(
        "masked",
        "rate",
        lambda case, s: s == "msg",
        "reset the learning rate at the first and the second growth; open "
        "gates over 5,000 steps, never fewer than 500",
        f"{MSG}, Sec. 4 and App. D",
    ),
    Rule(
        "staged",
        "rate",
        lambda case, s: s == "staged",
        "rewind the learning rate to where a run from scratch has this loss",
        "Shen et al., Staged Training (2203.06211)",
    ),
    Rule(
        "from a trained model",
        "rate",
        lambda case, s: s in ("ligo", "mango", "aki", "hypercloning"),
        "train the large model by its own full schedule, warm-up included",
        f"{LIGO}, Sec. 4",
    ),
    Rule(
        "one block",
        "alternative",
        lambda case, s: _deep_decoder(case) and case.source_tokens is None,
        "train one block, or none, for most of the run, and all of them for "
        "the rest: `schedules.get('One-layer')`. About 80 % of the FLOPs, at a "
        "loss at most 0.5 % higher (GPT-2 of 124M, 7B). Needs a learning rate "
        "that is still high when the model grows, and rates that carry over "
        "between sizes; in one jump only",
        ONE_LAYER,
    ),
    Rule(
        "middle",
        "alternative",
        lambda case, s: _deep_decoder(case) and case.source_tokens is None,
        "grow gradually by copies of the middle blocks ('middle') where "
        "reasoning matters: equal perplexity, better at reasoning, up to 28.6 "
        "% less compute",
        "Saunshi et al., MIDAS (2409.19044), abstract",
    ),
    Rule(
        "lossless",
        "alternative",
        lambda case, s: (
            case.source_tokens is not None and case.family != "decoder"
        ),
        "'lemon' starts at the small model's own loss, at any width: 56.7 % "
        "for ViT, 33.2 % for BERT, by its authors, the small model not "
        "counted",
        "Wang et al., LEMON (2310.07999), abstract",
    ),
)
