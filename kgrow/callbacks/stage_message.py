"""The line that is printed where a stage begins."""

from kgrow.schedules.print_table import named, policy_text


def announcement(schedule, index, step, receipt=None):
    """Describes in one line what a stage changes.

    Args:
        schedule: `GrowthSchedule`.
        index: int, the stage, from 0.
        step: int, the training step.
        receipt: `Receipt` of the growth into it, or `None`.

    Example:

    >>> from kgrow.schedules import GrowthSchedule, Stage
    >>> schedule = GrowthSchedule([Stage(5, {"num_layers": 1}),
    ...     Stage(9, dropout=0.1, learning_rate="reset")])
    >>> announcement(schedule, 1, 5)
    'kgrow: stage 2 of 2 from step 5: dropout 0.1; learning rate reset'
    """
    stage, said = schedule.stages[index], []
    if receipt is not None:
        said += _growth(stage, receipt)
    elif stage.unfreezes is not None:
        said.append(
            f"{', '.join(sum(stage.unfreezes, [])) or 'everything'} trains"
        )
    said += [f"{k} {v}" for k, v in (stage.training_options or {}).items()]
    if stage.learning_rate:
        said.append(
            "learning rate "
            + ", ".join(policy_text(p) for p in stage.learning_rate)
        )
    for name in ("data", "batch_size", "sequence_length"):
        if getattr(stage, name) is not None:
            said.append(f"{name.replace('_', ' ')} {getattr(stage, name)}")
    return (
        f"kgrow: stage {index + 1} of {len(schedule)} from step {step:,}: "
        f"{'; '.join(said)}"
    )


def _growth(stage, receipt):
    sizes = ", ".join(
        f"{field} {before:,} to {receipt.target_config[field]:,}"
        for field, before in receipt.source_config.items()
        if receipt.target_config[field] != before
    )
    yield f"{sizes} by {named(stage.strategy)}"
    yield (
        f"{receipt.parameters_before:,} to {receipt.parameters_after:,} "
        "parameters"
    )
    yield f"{receipt.seconds:.2f} s"
    if receipt.exact:
        yield "function kept"
    else:
        yield f"outputs moved by {receipt.relative_diff:.1e}"
