"""The schedules of Masked Structural Growth."""

from kgrow.schedules.published.registry import expected_of, published
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.stage import Stage

_MSG = "Yao et al., Masked Structural Growth (2305.02869)"


def _msg(rows, resets, table, expected=None, ramp=5000):
    """Stages of the paper's rows `(end, hidden, ffn, heads, layers)`."""
    stages, before = [], {}
    for number, (until, hidden, ffn, heads, layers) in enumerate(rows, 1):
        sizes = {
            "hidden_dim": hidden,
            "intermediate_dim": ffn,
            "num_heads": heads,
            "head_dim": 64,
            "num_layers": layers,
        }
        if number == 1:
            stages.append(Stage(until, sizes))
        else:
            config = {f: v for f, v in sizes.items() if v != before[f]}
            policy = "reset" if number in resets else None
            stages.append(
                Stage(until, config, "msg", ramp, learning_rate=policy)
            )
        before = sizes
    return GrowthSchedule(stages, source=f"{_MSG}, {table}", expected=expected)


_WALL = "wall time on 8 GPUs, all stages: "


@published("Sch1-B")
def sch1_b():
    """MSG's schedule for BERT-base: one dimension a stage, 900k steps.

    Batch size 256, sequence length 128. The learning rate, 1e-4 with 10k
    steps of warm-up and a linear decay, is reset at the first and the second
    growth. The baseline was trained for 1M steps.
    """
    return _msg(
        [
            (200_000, 512, 768, 8, 3),
            (400_000, 512, 3072, 8, 3),
            (500_000, 512, 3072, 8, 6),
            (600_000, 768, 3072, 8, 6),
            (700_000, 768, 3072, 12, 6),
            (900_000, 768, 3072, 12, 12),
        ],
        resets=(2, 3),
        table="Table 2, Table 5, App. D",
        expected=expected_of(1.8, _WALL + "14 h 36 min against 26 h 10 min"),
    )


@published("Sch1-L")
def sch1_l():
    """MSG's schedule for BERT-large; as `Sch1-B`, at 1e-5 and 30k steps of
    warm-up, with gradients clipped to norm 1."""
    return _msg(
        [
            (200_000, 768, 1024, 12, 6),
            (400_000, 768, 4096, 12, 6),
            (500_000, 768, 4096, 12, 12),
            (600_000, 1024, 4096, 12, 12),
            (700_000, 1024, 4096, 16, 12),
            (900_000, 1024, 4096, 16, 24),
        ],
        resets=(2, 3),
        table="Table 2, Table 4, App. D",
        expected=expected_of(2.2, _WALL + "32 h 10 min against 70 h 48 min"),
    )


@published("Sch1-G")
def sch1_g(total_steps=240_000):
    """MSG's schedule for GPT-2 of 110M parameters.

    Batch size 140, sequence length 1024, learning rate 1e-4, no reset. The
    paper ends it by the clock, at 37 h 59 min, and gives no step; 240k, the
    steps of its baseline, is used here.

    Args:
        total_steps: int, the end of training.
    """
    return _msg(
        [
            (50_000, 512, 768, 8, 3),
            (100_000, 512, 3072, 8, 3),
            (130_000, 512, 3072, 8, 6),
            (160_000, 768, 3072, 8, 6),
            (190_000, 768, 3072, 12, 6),
            (total_steps, 768, 3072, 12, 12),
        ],
        resets=(),
        table="Table 2, Table 5, App. D",
        expected=expected_of(
            1.4,
            "wall time on 14 GPUs, all stages: 37 h 59 min against 53 h 1 min",
        ),
    )


@published("Rapid-L")
def rapid_l():
    """MSG's counter-example: four growths within 100k steps.

    As fast as `Sch1-L`, and worse by four points of GLUE. Whether the
    learning rate was reset is not said of this one; it is here, as for all of
    the paper's BERTs.
    """
    return _msg(
        [
            (400_000, 512, 1024, 8, 6),
            (420_000, 512, 4096, 8, 6),
            (440_000, 1024, 4096, 8, 6),
            (500_000, 1024, 4096, 16, 6),
            (800_000, 1024, 4096, 16, 24),
        ],
        resets=(2, 3),
        table="Table 2, Table 4",
        expected=expected_of(
            2.4,
            _WALL + "29 h 20 min against 70 h 48 min, at GLUE 79.1, 82.2",
        ),
    )


@published("Sch0-L")
def sch0_l():
    """MSG's alternative for BERT-large: heads and width whole from the start.

    Table 8 prints a width of 768 in every stage. The text has the schedule
    start from the greatest width, and its target is BERT-large: 1024 here.
    Batch size, learning rate and resets are taken to be those of `Sch1-L`.
    """
    return _msg(
        [
            (200_000, 1024, 1024, 16, 6),
            (400_000, 1024, 4096, 16, 6),
            (600_000, 1024, 4096, 16, 12),
            (900_000, 1024, 4096, 16, 24),
        ],
        resets=(2, 3),
        table="App. G, Table 8 and 9",
        expected=expected_of(1.96, _WALL + "36 h 8 min against 70 h 48 min"),
    )


@published("Sch0-B")
def sch0_b():
    """MSG's alternative for BERT-base: heads and width whole from the start.

    Batch size, learning rate and resets are taken to be those of `Sch1-B`.
    """
    return _msg(
        [
            (200_000, 768, 768, 12, 3),
            (400_000, 768, 768, 12, 6),
            (600_000, 768, 768, 12, 9),
            (700_000, 768, 768, 12, 12),
            (900_000, 768, 3072, 12, 12),
        ],
        resets=(2, 3),
        table="App. G, Table 8 and 9",
        expected=expected_of(1.47, _WALL + "17 h 46 min against 26 h 10 min"),
    )


@published("Sch-GPT-New")
def sch_gpt_new():
    """MSG's second schedule for GPT-2: batch size 480, 100k steps.

    The ramp is taken to be the paper's 5000 steps here too.
    """
    return _msg(
        [
            (30_000, 512, 768, 8, 12),
            (60_000, 768, 768, 8, 12),
            (80_000, 768, 768, 12, 12),
            (100_000, 768, 3072, 12, 12),
        ],
        resets=(),
        table="App. J, Table 10",
        expected=expected_of(
            1.38, "wall time, all stages: 39 h 30 min against 54 h 33 min"
        ),
    )
