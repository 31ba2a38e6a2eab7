"""`kgrow plan`: what a growth would do, said and not done."""

import json
import time
from dataclasses import asdict, dataclass

import keras
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow import backend
from kgrow.algebra.config_fields import text
from kgrow.architecture.architecture import (
    count_parameters,
    grown_weights,
    relative_path,
)
from kgrow.backend.flops import forward_flops, training_flops
from kgrow_cli.commands.claims_table import claims_table
from kgrow_cli.commands.fitting import print_table
from kgrow_cli.commands.inputs import as_symbols, described, make_inputs
from kgrow_cli.commands.model_files import read_model
from kgrow_cli.commands.strategy_choice import chosen_strategy
from kgrow_cli.commands.units import bytes_text, flops_text, seconds_text

# The state of Adam, which is taken where a file says nothing of an optimizer.
_USUAL_SLOTS = 2


@dataclass(frozen=True)
class Side:
    """A model before or after: what it takes to hold and to train it.

    Attributes:
        sizes: dict of the fields that grow.
        parameters: int.
        weight_bytes: int.
        slot_bytes: int, of the optimizer's state.
        gradient_bytes: int.
        forward_flops: int, of one batch.
        training_flops: int, of one step.
    """

    sizes: dict
    parameters: int
    weight_bytes: int
    slot_bytes: int
    gradient_bytes: int
    forward_flops: int
    training_flops: int


def plan_growth(
    path,
    target,
    strategy,
    seed,
    batch,
    length,
    timed,
    imports,
    as_json,
):
    """Prints what growing the model in a file would do."""
    with Console(stderr=True).status("reading the model") as status:
        model = read_model(path, imports)
        strategy = chosen_strategy(*strategy)
        status.update("planning")
        facts = forecast(model, target, strategy, seed, batch, length)
        if timed:
            status.update("measuring this machine")
            facts["time"] = time_forecast(model, facts, strategy, batch, length)
    plan = facts.pop("plan")
    if as_json:
        facts["before"] = asdict(facts["before"])
        facts["after"] = asdict(facts["after"])
        print(json.dumps({"file": str(path), **facts}, indent=2))
        return
    console = Console(highlight=False)
    print_table(console, _sizes_table(facts))
    print_table(console, claims_table(facts["claims"], plan))
    for line in _notes(facts):
        console.print(f"[dim]•[/] {escape(line)}")


def forecast(model, target, strategy, seed=0, batch=8, length=None):
    """The effects of growing a `GrowableModel`, which is not changed.

    Returns:
        dict: `plan`, the sides `before` and `after`, the strategy's `claims`,
        and what the figures rest on.

    Raises:
        GrowthError: it cannot be done.
    """
    source = model.architecture
    config = source.check(target)
    with backend.scope(model):
        network, spec = source.build(config)
    plan = strategy.plan(source.spec, spec, seed)
    inputs = make_inputs(source.network, source.spec, batch, length)
    slots, slots_said = _slots(model)
    before = _side(source.network, source.config, inputs, slots)
    inputs_after = make_inputs(network, spec, batch, length)
    after = _side(network, config, inputs_after, slots)
    return {
        "plan": plan,
        "strategy": repr(strategy),
        "learns": strategy.needs_data,
        "inputs": described(inputs),
        "before": before,
        "after": after,
        "optimizer": slots_said,
        "peak_bytes": (
            before.weight_bytes
            + before.slot_bytes
            + after.weight_bytes
            + after.slot_bytes
        ),
        "claims": [asdict(claim) for claim in strategy.claims(plan)],
    }


def time_forecast(model, facts, strategy, batch=8, length=None):
    """How long the growth and a step would take, from measurements here.

    A forward pass of the present model gives the rate at which this machine
    computes; growing the variable that becomes the largest gives the rate at
    which it copies.

    Returns:
        dict of seconds, rates and what was measured.
    """
    source, plan = model.architecture, facts["plan"]
    inputs = make_inputs(source.network, source.spec, batch, length)
    run = backend.forwarder(source.network)
    run(inputs)  # compiles
    forward = min(_seconds(lambda: run(inputs)) for _ in range(3))
    rate = facts["before"].forward_flops / forward
    values = {
        relative_path(source.network, w): backend.to_numpy_if_cpu(
            backend.storage(w)
        )
        for w in grown_weights(source.network)
    }
    path = max(
        plan.target.variables,
        key=lambda p: np.prod(plan.target.variables[p].shape),
    )
    copying = _seconds(lambda: plan.grow(path, values))
    after, shape = facts["after"], plan.target.variables[path].shape
    part = np.prod(shape) / after.parameters
    grown = 1 + after.slot_bytes / max(1, after.weight_bytes)
    growth = copying * grown / max(part, 1e-12)
    steps = getattr(strategy, "steps", 0) if strategy.needs_data else 0
    learning = steps * after.training_flops / rate
    return {
        "device_flops_per_second": rate,
        "measured_forward_seconds": forward,
        "measured_variable": path,
        "growth_seconds": growth,
        "learning_steps": steps,
        "learning_seconds": learning,
        "step_seconds_before": facts["before"].training_flops / rate,
        "step_seconds_after": after.training_flops / rate,
        "backend": keras.backend.backend(),
    }


def _side(network, config, inputs, slots):
    weights = grown_weights(network)
    total = sum(_bytes(w) for w in weights)
    trained = sum(_bytes(w) for w in weights if w.trainable)
    symbols = as_symbols(inputs)
    return Side(
        sizes=dict(config),
        parameters=count_parameters(network),
        weight_bytes=total,
        slot_bytes=round(slots * trained),
        gradient_bytes=trained,
        forward_flops=forward_flops(network, symbols),
        training_flops=training_flops(network, symbols),
    )


def _slots(model):
    """How large the optimizer's state is, as a multiple of what trains, and
    how that is known."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return _USUAL_SLOTS, "Adam's two slots; the file has no optimizer"
    name = type(optimizer).__name__
    if not optimizer.built:
        return _USUAL_SLOTS, f"two slots; {name} has none yet"
    trained = sum(_bytes(w) for w in model.trainable_variables)
    slots = sum(_bytes(v) for v in optimizer.variables if len(v.shape))
    return slots / max(1, trained), f"the state that {name} has now"


def _bytes(variable):
    size = np.dtype(keras.backend.standardize_dtype(variable.dtype)).itemsize
    return int(np.prod(variable.shape, dtype="int64")) * size


def _seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _sizes_table(facts):
    before, after = facts["before"], facts["after"]
    table = Table(
        title=escape(f"plan: {facts['strategy']}"), title_justify="left"
    )
    table.add_column("")
    for column in ("before", "after", "times"):
        table.add_column(column, justify="right", no_wrap=True)
    for field, new in after.sizes.items():
        old = before.sizes[field]
        if old != new:
            table.add_row(escape(field), text(old), text(new), "")
    table.add_section()
    for label, name, written in (
        ("parameters", "parameters", "{:,}".format),
        ("weights", "weight_bytes", bytes_text),
        ("optimizer state", "slot_bytes", bytes_text),
        ("gradients", "gradient_bytes", bytes_text),
        ("forward pass", "forward_flops", flops_text),
        ("training step", "training_flops", flops_text),
    ):
        old, new = getattr(before, name), getattr(after, name)
        times = f"{new / old:.2f}" if old else ""
        table.add_row(label, written(old), written(new), times)
    took = facts.get("time")
    if took:
        table.add_row(
            "its time, estimated",
            seconds_text(took["step_seconds_before"]),
            seconds_text(took["step_seconds_after"]),
            "",
        )
    return table


def _notes(facts):
    kept = all(claim["exact"] for claim in facts["claims"])
    if facts["learns"]:
        yield (
            "the strategy learns: the table says what it starts from; "
            "growing needs data"
        )
    elif kept:
        yield "the grown model computes what the present one does"
    else:
        yield "the grown model computes something else at first"
    yield f"memory: the optimizer's is that of {facts['optimizer']}"
    yield (
        f"while it grows, up to {bytes_text(facts['peak_bytes'])}: old and new "
        "weights and slots together. Activations are not counted"
    )
    yield (
        f"FLOPs: of {facts['inputs']}; a training step is three forward passes"
    )
    took = facts.get("time")
    if not took:
        return
    yield (
        "time: a forward pass of the present model took "
        f"{seconds_text(took['measured_forward_seconds'])} here on "
        f"{took['backend']}, {flops_text(took['device_flops_per_second'])} a "
        "second; steps are estimated at that rate, without the optimizer's "
        "own work. Larger models often reach a higher one"
    )
    yield (
        f"growing would take about {seconds_text(took['growth_seconds'])}, as "
        f"fast as {took['measured_variable']} grew here; compiling the next "
        "step comes on top"
        + (
            f", and before it {took['learning_steps']} steps of learning, "
            f"{seconds_text(took['learning_seconds'])}"
            if took["learning_steps"]
            else ""
        )
    )
