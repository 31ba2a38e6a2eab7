"""Schedules that stack, and CompoundGrow, which began as one of them."""

from kgrow.schedules.published.registry import (
    BERT_BASE,
    BERT_LARGE,
    expected_of,
    published,
)
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.stage import Stage

_COMPOUND = "Gu et al., CompoundGrow (2010.12562)"


def _stacking(steps, sizes, policy, **arguments):
    """A quarter of the blocks, half of them, all of them."""
    layers = sizes["num_layers"]
    ends = [sum(steps[: i + 1]) for i in range(3)]
    return GrowthSchedule(
        [
            Stage(ends[0], {**sizes, "num_layers": layers // 4}),
            *(
                Stage(
                    end,
                    {"num_layers": layers // part},
                    "stack",
                    learning_rate=policy,
                    optimizer_state="reset",
                )
                for end, part in zip(ends[1:], (2, 1), strict=True)
            ),
        ],
        **arguments,
    )


@published("StackBERT")
def stackbert():
    """Progressive stacking as first published: BERT-base, doubled twice.

    3 blocks for 50k steps, 6 for 70k, 12 until step 400k. In the authors'
    code the optimizer starts anew at each growth and the learning rate goes
    on falling.
    """
    return _stacking(
        (50_000, 70_000, 280_000),
        BERT_BASE,
        None,
        source="Gong et al., Progressively Stacking (ICML 2019); its code, "
        "gonglinyuan/StackingBERT",
        expected={
            "speed_up": 1.33,
            "saving": 0.25,
            "counts": "wall time, all stages, to the baseline's quality",
        },
    )


@published("StackBERT-tuned")
def stackbert_tuned(large=False):
    """Progressive stacking as CompoundGrow's authors tuned it, 1M steps.

    A quarter of the blocks for 300k steps, half for 400k, all for 300k; the
    learning rate is reset at each growth. (Sec. 4 has a quarter in the first
    stage; App. A, once, a half.)

    Args:
        large: bool, BERT-large in place of BERT-base.
    """
    return _stacking(
        (300_000, 400_000, 300_000),
        BERT_LARGE if large else BERT_BASE,
        "reset",
        source=f"{_COMPOUND}, Sec. 4, Table 2",
        expected=expected_of(
            1.697 if large else 1.649, "wall time on TPUs, all stages"
        ),
    )


@published("CompoundGrow")
def compoundgrow(large=False, pooled=True):
    """CompoundGrow: depth, feedforward width and length together, 1M steps.

    200k steps with a quarter of the blocks, 200k with half, 300k with all;
    until then feedforward networks are half as wide, and embeddings pooled in
    pairs; then 300k as BERT. The learning rate is reset at each growth, and
    the optimizer starts anew, as in the authors' code. Batch size 256, length
    512. Pooled networks need `"masked_positions"` among their inputs.

    Args:
        large: bool, BERT-large in place of BERT-base.
        pooled: bool; if `False`, sequences are cut to half their length in
            place of pooling, which needs `kgrow.fit`. The paper found that as
            good on MNLI and SQuAD v1.1, and worse on v2.0.
    """
    sizes = BERT_LARGE if large else BERT_BASE
    layers, ffn = sizes["num_layers"], sizes["intermediate_dim"]
    small = {**sizes, "intermediate_dim": ffn // 2}
    grown = {"learning_rate": "reset", "optimizer_state": "reset"}
    short, whole = {"sequence_length": 256}, {"sequence_length": 512}
    if pooled:
        short, whole = (
            {"training_options": {"pooling": size}} for size in (2, 1)
        )
    return GrowthSchedule(
        [
            Stage(200_000, {**small, "num_layers": layers // 4}, **short),
            Stage(
                400_000, {"num_layers": layers // 2}, "compoundgrow", **grown
            ),
            Stage(700_000, {"num_layers": layers}, "compoundgrow", **grown),
            Stage(
                1_000_000,
                {"intermediate_dim": ffn},
                "compoundgrow",
                **grown,
                **whole,
            ),
        ],
        source=f"{_COMPOUND}, Sec. 4, Table 2, App. A",
        expected=expected_of(
            1.822 if large else 1.736, "wall time on TPUs, all stages"
        ),
    )


@published("MSLT")
def mslt(total_steps=1_000_000):
    """Multi-stage layerwise training: BERT-base, new blocks train alone.

    3, 6, 9 and 12 blocks, of which the 3 on top train; at last all train
    together.

    Deviates: of the paper only the abstract was at hand. It gives neither the
    numbers of blocks nor the lengths of the stages; these are five of equal
    length.

    Args:
        total_steps: int, the end of training.
    """
    ends = [total_steps * (i + 1) // 5 for i in range(5)]
    return GrowthSchedule(
        [
            Stage(ends[0], {**BERT_BASE, "num_layers": 3}),
            *(
                Stage(end, {"num_layers": layers}, "mslt")
                for end, layers in zip(ends[1:4], (6, 9, 12), strict=True)
            ),
            Stage(ends[4], trainable="all"),
        ],
        source="Yang et al., Progressively Stacking 2.0 (2011.13635)",
        expected=expected_of(2.1, "time, all stages; the abstract says >110 %"),
    )
