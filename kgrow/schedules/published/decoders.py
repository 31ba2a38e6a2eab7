"""Schedules of language models that grow once."""

from kgrow.algebra.errors import GrowthError
from kgrow.schedules.learning_rate.apply_policies import Rewarm, Rewind
from kgrow.schedules.published.growth_timing import growth_tokens
from kgrow.schedules.published.registry import (
    BERT_BASE,
    expected_of,
    published,
)
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.stage import Stage
from kgrow.schedules.stage_bounds import Tokens

_GPT2_LARGE = {
    "hidden_dim": 1536,
    "intermediate_dim": 6144,
    "num_heads": 16,
    "head_dim": 96,
    "num_layers": 24,
}
_STAGED = (
    "Shen et al., Staged Training (2203.06211); its code, "
    "allenai/staged-training, cheatsheet.txt"
)


@published("Staged-width")
def staged_width(total_steps=250_000):
    """Staged training of a large GPT-2: half as wide at first.

    24 blocks, 1536 wide, as the authors' code has it. Steps, the position
    that the learning rate goes back to and its warm-up are those of an example
    in their repository; the paper finds them from the slopes of the curves,
    for which there is `LossSlope`. Batch size 512, length 1024. 250k is the
    upper limit in the commands.

    Args:
        total_steps: int, the end of training.
    """
    half = {"hidden_dim": 768, "intermediate_dim": 3072, "num_heads": 8}
    return GrowthSchedule(
        [
            Stage(6_500, {**_GPT2_LARGE, **half}),
            Stage(
                total_steps,
                {field: _GPT2_LARGE[field] for field in half},
                "staged",
                learning_rate=[Rewind(to=3_319), Rewarm(150)],
            ),
        ],
        source=_STAGED,
        expected=expected_of(1.28, "compute, all stages; at most, of all runs"),
    )


@published("Staged-depth")
def staged_depth(total_steps=250_000):
    """Staged training of a large GPT-2: half as deep at first.

    As `Staged-width`. Every block is followed by a copy of it, as the code
    does; the paper's copies keep the function.

    Args:
        total_steps: int, the end of training.
    """
    return GrowthSchedule(
        [
            Stage(6_500, {**_GPT2_LARGE, "num_layers": 12}),
            Stage(
                total_steps,
                {"num_layers": 24},
                "interpolate",
                learning_rate=[Rewind(to=4_449), Rewarm(150)],
            ),
        ],
        source=_STAGED,
        expected=expected_of(1.28, "compute, all stages; at most, of all runs"),
    )


@published("One-layer")
def one_layer(total_steps=600_000, at=0.8, num_layers=12):
    """One block for most of the run, then all blocks.

    GPT-2 of 124M parameters. The learning rate must still be high when the
    model grows: compile with one that is warmed up, stays, and decays at the
    end only.

    Deviates: the number of steps and the values of the new blocks were not in
    what was at hand of the paper; copies of the one block are used here, which
    it finds to do, as random ones do.

    Args:
        total_steps: int, the end of training.
        at: float in (0, 1), the part of it after which the model grows.
        num_layers: int, blocks in the end.
    """
    return GrowthSchedule(
        [
            Stage(round(total_steps * at), {**BERT_BASE, "num_layers": 1}),
            Stage(total_steps, {"num_layers": num_layers}, "stack"),
        ],
        source="Bu, Scaling Depth Capacity via Zero/One-Layer Model Expansion "
        "(2511.04981)",
        expected=expected_of(
            5.0, "FLOPs, both stages, at a loss 0.5 % higher at most"
        ),
    )


@published("G_stack")
def g_stack(parameters=7e9, flops=6 * 7e9 * 300e9, factor=4, config=None):
    """Stacks once, early: after as many tokens as the authors' formula says.

    The small model has one block of `factor`. Training ends when the FLOPs
    are spent that the large one would take for all tokens, 6 for a parameter
    and a token. The optimizer starts anew, and the learning rate from its
    warm-up, as in the authors' code. Bounds are in tokens.

    Args:
        parameters: number of the large model's parameters.
        flops: number, the FLOPs of training it from scratch.
        factor: int, by which the depth grows.
        config: optional dict, the sizes of the large model; those of a 7B
            one by default.
    """
    config = config or {
        "hidden_dim": 4096,
        "num_heads": 32,
        "head_dim": 128,
        "num_layers": 32,
    }
    layers = config["num_layers"]
    if layers % factor:
        raise GrowthError(
            "The depth must be a multiple of the factor. Received: "
            f"num_layers={layers}, factor={factor}"
        )
    return GrowthSchedule(
        [
            Stage(
                Tokens(growth_tokens(parameters, flops)),
                {**config, "num_layers": layers // factor},
            ),
            Stage(
                Tokens(round(flops / (6 * parameters))),
                {"num_layers": layers},
                "stack",
                learning_rate=Rewind(to=0),
                optimizer_state="reset",
            ),
        ],
        source="Du et al., Stacking Your Transformers (2405.15319)",
        expected=expected_of(
            1.546, "tokens of the large model to the same loss, 7B, 300B tokens"
        ),
    )
