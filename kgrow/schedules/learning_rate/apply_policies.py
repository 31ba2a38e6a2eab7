"""The learning rate at a growth: policies, put on a model's optimizer.

What has happened is recorded in the model's `callback_state`, which is saved
with its weights; from there `restore()` puts it back onto the optimizer of
another process.
"""

import contextlib

import keras
from keras.optimizers.schedules import LearningRateSchedule

from kgrow import backend
from kgrow.algebra.deserialization import object_of
from kgrow.algebra.errors import GrowthError
from kgrow.growth.freezing import new_update_scale
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.optimizer.slots import nested
from kgrow.growth.update_scale import steps_taken
from kgrow.schedules.learning_rate.events import (
    Constant,
    EventSchedule,
    is_bent,
    with_events,
)
from kgrow.schedules.learning_rate.policies import (
    Asymmetric,
    Keep,
    LearningRatePolicy,
    Reset,
    Rewarm,
    Rewind,
    Transfer,
)

__all__ = [
    "Asymmetric",
    "Constant",
    "EventSchedule",
    "Keep",
    "LearningRatePolicy",
    "Reset",
    "Rewarm",
    "Rewind",
    "Transfer",
    "apply",
    "check",
    "end",
    "get",
    "restore",
    "serialize",
]

_POLICIES = {
    "keep": Keep,
    "reset": Reset,
    "rewind": Rewind,
    "rewarm": Rewarm,
    "asymmetric": Asymmetric,
    "transfer": Transfer,
}
_KEY = "learning_rate"


def get(identifier):
    """Makes a list of policies.

    Args:
        identifier: a policy, the name of one that needs no arguments
            (`"keep"`, `"reset"`, `"transfer"`), a config made by
            `serialize()`, a list of these, or `None` for no policy.

    Raises:
        GrowthError: there is no such policy.

    Example:

    >>> get("reset")
    [Reset(stretch=False)]
    >>> get([Reset(), Rewarm(100)])
    [Reset(stretch=False), Rewarm(steps=100)]
    >>> get(None)
    []
    """
    if identifier is None:
        return []
    if isinstance(identifier, (list, tuple)):
        return [policy for each in identifier for policy in get(each)]
    if isinstance(identifier, LearningRatePolicy):
        return [identifier]
    if isinstance(identifier, dict):
        try:
            policy = object_of(
                identifier, LearningRatePolicy, "a learning-rate policy"
            )
        except Exception as error:
            raise GrowthError(
                "A learning-rate policy cannot be made of its config: "
                f"{error} Received: {identifier!r}"
            ) from error
        return get(policy)
    name = identifier.lower() if isinstance(identifier, str) else None
    if name in ("keep", "reset", "transfer"):
        return [_POLICIES[name]()]
    if name in _POLICIES:
        raise GrowthError(
            f"The learning-rate policy {name!r} needs arguments. Pass "
            f"`kgrow.schedules.{_POLICIES[name].__name__}(...)`. Received: "
            f"{identifier!r}"
        )
    raise GrowthError(
        f"There is no such learning-rate policy. Received: {identifier!r}. "
        f"There are: {', '.join(_POLICIES)}"
    )


def transfer(policies):
    """The argument `learning_rate` of `grow()` for a stage's policies."""
    found = (isinstance(policy, Transfer) for policy in get(policies))
    return "transfer" if any(found) else None


def serialize(policies):
    """The configs from which `get()` makes the same policies again.

    Example:

    >>> get(serialize(get("keep")))
    [Keep()]
    """
    return [keras.saving.serialize_keras_object(p) for p in get(policies)]


def check(model, policies):
    """Refuses policies that cannot work on a model's optimizer.

    Args:
        model: `GrowableModel`.
        policies: see `get()`.

    Raises:
        GrowthError: the model is not compiled, or a policy needs a schedule
            that its optimizer does not have.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam")
    >>> check(model, "reset")  # nothing to do, and nothing wrong with it
    >>> try:
    ...     check(model, Rewarm(10))
    ... except GrowthError as error:
    ...     print(str(error)[:50])
    `Rewarm(steps=10)` needs a learning-rate schedule,
    """
    policies = [p for p in get(policies) if not isinstance(p, Keep)]
    if not policies:
        return
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise GrowthError(
            "Learning-rate policies act on an optimizer, so `compile()` the "
            f"model first. Received: {policies!r}"
        )
    for part in _parts(optimizer):
        for policy in policies:
            _check_one(part, policy)


def _check_one(optimizer, policy):
    name = type(optimizer).__name__
    rate = optimizer._learning_rate
    constant = isinstance(rate, keras.Variable)
    if policy.needs_schedule and not isinstance(rate, LearningRateSchedule):
        raise GrowthError(
            f"`{policy!r}` needs a learning-rate schedule, and the optimizer "
            f"{name!r} has none. Compile with a `LearningRateSchedule`; "
            "`kgrow.schedules.Constant(learning_rate)` is one that stays at "
            f"a rate. Received: learning_rate={rate!r}"
        )
    if policy.bends and not isinstance(rate, LearningRateSchedule):
        if not constant:
            raise GrowthError(
                f"`{policy!r}` acts on a `LearningRateSchedule`, not on a "
                f"function of no arguments. Received: learning_rate={rate!r}"
            )
        return
    if isinstance(optimizer, keras.optimizers.Ftrl):
        raise GrowthError(
            f"The optimizer {name!r} computes its weights anew from its "
            "learning rate in every step, so that any jump of the rate would "
            f"scale the weights. Use another one. Received: {policy!r}"
        )


def _check_transfer(model, policies):
    """`Transfer` is the growth's own work, and has been done by now."""
    if not any(isinstance(policy, Transfer) for policy in policies):
        return
    history = model.growth_history
    if not history or history[-1].rates is None:
        raise GrowthError(
            "The factors of `Transfer()` follow from the plan of a growth: "
            "call `grow(learning_rate='transfer')`. Received: a model whose "
            "last growth had none"
        )


def apply(model, policies, total_steps=None):
    """Lets policies act, right after a growth.

    To be called where `grow()` may be, in a running `fit` too. On any error
    nothing has changed.

    Args:
        model: `GrowableModel` that has just grown.
        policies: see `get()`.
        total_steps: int, the optimizer's iterations at the end of the run, for
            policies that must know; or `None`.

    Raises:
        GrowthError: a policy cannot work; see `check()`. `Asymmetric` cannot
            if the growth mixed old entries.

    Example:

    >>> import keras, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile(keras.optimizers.Adam(Constant(0.1)))
    >>> receipt = model.grow({"num_layers": 2})
    >>> apply(model, Rewarm(10))
    >>> round(float(model.optimizer.learning_rate), 3)
    0.01
    """
    policies = get(policies)
    check(model, policies)
    _check_transfer(model, policies)
    if getattr(model, "optimizer", None) is None:
        return
    backend.sync(model)
    step = steps_taken(model)
    total = None if total_steps is None else int(total_steps)
    events = [*_recorded(model, step)]
    update_scales = [*model.architecture.update_scales]
    for policy, config in zip(policies, serialize(policies), strict=True):
        if policy.bends:
            event = {"step": step, "policy": config, "total_steps": total}
            events.append(event)
        elif isinstance(policy, Asymmetric):
            factors = policy.new, policy.old, policy.steps
            update_scales.append(
                new_update_scale(model.architecture, step, *factors)
            )
    _become(model, events, update_scales)


def restore(model):
    """Applies the events recorded in the model to its optimizer.

    To be called when a `fit` starts, after weights were loaded, and whenever
    in doubt: if all is as it should be, nothing happens. What lies ahead of
    the optimizer's iterations was another one's, and is forgotten.

    Args:
        model: `GrowableModel`.

    Example:

    >>> import keras, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile(keras.optimizers.Adam(Constant(0.1)))
    >>> receipt = model.grow({"num_layers": 2})
    >>> apply(model, Rewarm(10))
    >>> model.compile(keras.optimizers.Adam(Constant(0.1)))
    >>> restore(model)
    >>> round(float(model.optimizer.learning_rate), 3)
    0.01
    """
    if getattr(model, "optimizer", None) is None:
        return
    backend.sync(model)
    step = steps_taken(model)
    update_scales = [
        p for p in model.architecture.update_scales if _lasts(p, step)
    ]
    _become(model, _recorded(model, step), update_scales)


def end(model):
    """Ends all asymmetric rates: every entry learns at the full rate again.

    Args:
        model: `GrowableModel`.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam")
    >>> receipt = model.grow({"num_layers": 2})
    >>> apply(model, Asymmetric(old=0.1))
    >>> end(model)
    >>> model.architecture.update_scales
    []
    """
    backend.sync(model)
    step = steps_taken(model)
    _become(model, _recorded(model, step), [])


def _recorded(model, step):
    """Events that the optimizer has come by."""
    record = model.callback_state.get(_KEY, {"events": []})
    return [event for event in record["events"] if event["step"] <= step]


def _lasts(scale, step):
    if scale.steps is None:
        return True
    return scale.start <= step and not scale.is_over(step)


def _parts(optimizer):
    """Optimizers that take steps themselves."""
    return [part for part in nested(optimizer) if len(nested(part)) == 1]


def _schedules(model, events):
    """`[(optimizer, schedule with the events)]` of all optimizers that have a
    schedule."""
    step, found = steps_taken(model), []
    for part in _parts(model.optimizer):
        schedule = part._learning_rate
        if not isinstance(schedule, LearningRateSchedule):
            continue
        # One that was made later has counted fewer steps.
        lag = step - int(keras.ops.convert_to_numpy(part._iterations))
        own = [_earlier(e, lag) for e in events if e["step"] >= lag]
        found.append((part, with_events(schedule, own)))
    return found


def _earlier(event, lag):
    if not lag:
        return event
    total = event["total_steps"]
    return {
        **event,
        "step": event["step"] - lag,
        "total_steps": None if total is None else total - lag,
    }


def _become(model, events, update_scales):
    """Gives the optimizer these events and update_scales, all or nothing."""
    changed = [
        (part, schedule, part._learning_rate)
        for part, schedule in _schedules(model, events)
        if _differ(schedule, part._learning_rate)
    ]
    before, paces_before = (
        dict(model.callback_state),
        model.architecture.update_scales,
    )
    if not changed and len(update_scales) == len(paces_before):
        _record(model, events)
        return

    def go_back():
        model.callback_state.clear()
        model.callback_state.update(before)
        model.architecture.update_scales = paces_before
        for part, _, old in changed:
            part.learning_rate = old
        guard(model)

    with contextlib.ExitStack() as undo:
        undo.callback(model._remember())
        undo.callback(go_back)
        _record(model, events)
        model.architecture.update_scales = update_scales
        for part, schedule, _ in changed:
            part.learning_rate = schedule
        guard(model)
        model._refresh_functions()
        undo.pop_all()


def _record(model, events):
    if events:
        model.callback_state[_KEY] = {"events": events}
    else:
        model.callback_state.pop(_KEY, None)


def _differ(left, right):
    """Whether two schedules have different events."""
    events = [s.events if is_bent(s) else [] for s in (left, right)]
    return events[0] != events[1]
