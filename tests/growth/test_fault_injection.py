"""A fault at any call that a growth makes: the running `fit` trains on as if
nothing had been asked.

A boundary is a call from the package, into it or out of it, C functions and
the creation of arrays included. Every one that an operation passes is known by
its place and by how often that place was passed; at one after the other
something fails.
"""

import collections
import copy
import gc
import inspect
import pathlib
import random
import sys

import keras
import numpy as np
import pytest
from helpers.training import (
    assert_same_state,
    batch,
    compiled,
    mlp,
    state,
    train,
)
from keras.src.backend.common import global_state

import kgrow
from kgrow import GrowthError, strategies
from kgrow.algebra.ramp import Ramp
from kgrow.callbacks import Growth
from kgrow.schedules import GrowthSchedule, Plateau, Stage

PACKAGE = str(pathlib.Path(kgrow.__file__).parent)
LARGER = {"hidden_dim": 7, "intermediate_dim": 9, "num_layers": 3}
TWICE = {"hidden_dim": 8, "intermediate_dim": 12, "num_layers": 4}
# What each operation meets by default.
SAMPLE = 3
# What it meets in the long mode: every boundary if there are no more than
# FEW, or else every STRIDE-th, from a beginning that the operation's name
# decides, and SCATTERED of the others, drawn with the name as seed. All 27,000
# would take an hour and a half on one core on torch; STRIDE = 1 runs them.
FEW, STRIDE, SCATTERED = 150, 25, 20


_DONE = "_BaseExitStack.pop_all"
ENDS = (
    "/growth/transaction.py",
    "/growth/growable_model.py",
    "/growth/network_swap.py",
    "/growth/freezing.py",
)
END = {"load_weights": ("/growth/saving/rollback.py",)}


# Where Keras passes over what is raised: attributes that cannot be read are
# left out of a file, and torch tries shapes on the meta device before it
# computes. The operation goes on, and has nothing to undo.
PASSED_OVER = {"_walk_saveable"}
if keras.backend.backend() == "torch":
    PASSED_OVER.add("compute_output_spec")


class Broken(Exception):
    """Something that nobody expected."""


ERRORS = (MemoryError, KeyboardInterrupt, Broken)


class Boundaries:
    """Context that watches calls, and fails at one of them.

    Args:
        at: `(place, nth)` as in `passed`, or files in one of which the end of
            an operation is, where nothing is left but to forget how to undo.
        error: exception class.

    Attributes:
        passed: list of `(place, nth)` in their order.
        failed: bool.
    """

    def __init__(self, at, error):
        self.at, self.error = at, error
        self.passed, self.failed = [], False
        self._counts = collections.Counter()

    def __enter__(self):
        # What is thrown away at any time is no boundary.
        gc.disable()
        sys.setprofile(self._watch)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)
        gc.enable()

    def _watch(self, frame, event, argument):
        if event == "call":
            caller, code = frame.f_back, frame.f_code
            name, ours = code.co_qualname, code.co_filename.startswith(PACKAGE)
            # A generator may be entered to be thrown away, where what it
            # raises is lost; not where it is a context.
            if code.co_flags & inspect.CO_GENERATOR and (
                caller is None or "contextlib" not in caller.f_code.co_filename
            ):
                return
        elif event == "c_call":
            caller, ours = frame, False
            name = getattr(argument, "__qualname__", str(argument))
        else:
            return
        if caller is None:
            return
        if not ours and not caller.f_code.co_filename.startswith(PACKAGE):
            return
        file = caller.f_code.co_filename.removeprefix(PACKAGE)
        place = file, caller.f_lineno, name
        done = file in self.at and name == _DONE
        if not done and (name.endswith("__exit__") or _puts_back(caller)):
            return
        self._counts[place] += 1
        point = place, self._counts[place]
        if not _passed_over(caller):
            self.passed.append(point)
        if done or point == self.at:
            self.failed = True
            raise self.error("injected")


def _passed_over(frame):
    while frame is not None:
        if frame.f_code.co_name in PASSED_OVER:
            return True
        frame = frame.f_back
    return False


def _puts_back(frame):
    """Whether a frame is of what runs at the end of a context: what keeps it
    from putting things back, nothing that comes after can mend."""
    if frame.f_code.co_flags & inspect.CO_GENERATOR:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "__exit__"


def learned(name):
    strategy = strategies.get(name)
    strategy.steps, strategy.verbose = 2, 0
    return strategy


def grown(target, strategy, **arguments):
    def action(model):
        made = strategy() if callable(strategy) else strategy
        model.grow(target, made, data=batch(model, 3), seed=1, **arguments)

    return action


def frozen(model):
    model.grow({"num_layers": 3}, "llama_pro", seed=2)


def gated(model):
    model.grow(LARGER, strategies.MSG(ramp=Ramp(1)), seed=2)


def taught(model):
    model.grow(LARGER, "ki", seed=2)


def nothing(model):
    del model


# Operations, by what was done to the model before the run.
OPERATIONS = {
    "net2net": (nothing, grown(LARGER, "net2net")),
    "lemon": (nothing, grown(LARGER, "lemon")),
    "ligo": (nothing, grown(LARGER, lambda: learned("ligo"))),
    "msg": (nothing, grown(LARGER, "msg")),
    "ki": (nothing, grown(LARGER, "ki")),
    "mslt": (nothing, grown({"num_layers": 4}, "mslt")),
    "llama_pro": (nothing, grown({"num_layers": 3}, "llama_pro")),
    "staged": (nothing, grown(TWICE, "staged")),
    "train new": (nothing, grown(LARGER, "net2net", trainable="new")),
    "set_training_options": (
        nothing,
        lambda model: model.set_training_options(dropout=0.3),
    ),
    "load_weights": (nothing, None),
    "unfreeze": (frozen, lambda model: model.unfreeze()),
    "grow frozen": (frozen, grown(LARGER, "net2net")),
    "remove_open_gates": (gated, lambda model: model.remove_open_gates()),
    "strip": (gated, lambda model: model.strip()),
    "active_gates": (gated, lambda model: model.force_open_gates()),
    "grow gated": (gated, grown({"num_layers": 4}, "msg")),
    "grow taught": (taught, grown({"num_layers": 4}, "mslt")),
    "treat taught": (
        taught,
        lambda model: model.set_training_options(dropout=0.3),
    ),
    "remove_teacher": (taught, lambda model: model.remove_teacher()),
}


def made(before):
    model = compiled(mlp())
    before(model)
    return model


def snapshot(model):
    """What a fault must not change."""
    architecture = model.architecture
    return {
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "optimizer": sorted(vars(model.optimizer)),
        "locked": model._tracker.locked,
        "unvalued": len(
            global_state.get_global_attribute("uninitialized_variables", [])
        ),
        "network": id(model.network),
        "config": model.growth_config,
        "history": len(model.growth_history),
        "active_gates": [(repr(o), s) for o, s in model.active_gates],
        "training_options": model.training_options,
        "frozen": sorted(architecture.frozen),
        "update_scales": len(architecture.update_scales),
        "teacher": id(model.teacher),
        "callbacks": copy.deepcopy(model.callback_state),
        "trains": [v.path for v in model.trainable_variables],
        "variables": [id(v) for v in model.variables],
        "slots": [id(v) for v in model.optimizer.variables],
        "step": id(model.train_function),
    }


def points(name, passed, long):
    """Which boundaries an operation fails at: of every place the first time
    and the last that it is passed, and of these a share, see `FEW`."""
    last = {}
    for place, nth in passed:
        last[place] = nth
    found = [(place, nth) for place, nth in passed if nth in (1, last[place])]
    if not long:
        step = len(found) / SAMPLE
        return [found[int((i + 0.5) * step)] for i in range(SAMPLE)]
    if len(found) <= FEW:
        return found
    rng = random.Random(name)
    first = rng.randrange(STRIDE)
    regular = set(range(first, len(found), STRIDE))
    others = [i for i in range(len(found)) if i not in regular]
    scattered = rng.sample(others, min(SCATTERED, len(others)))
    return [found[i] for i in sorted({*regular, *scattered})]


class Faults(keras.callbacks.Callback):
    """Asks for operations at the end of the first batch, all of which fail.

    Args:
        operations: dict from names to actions.
        before: function of a model.
        long: bool.

    Attributes:
        injected: `Counter`, faults by operation.
        known: `Counter`, boundaries that it passes.
        wrong: list of what was found changed.
    """

    def __init__(self, operations, before, long):
        super().__init__()
        self.operations, self.before = operations, before
        self.long = long
        self.injected = collections.Counter()
        self.known = collections.Counter()
        self.wrong = []

    def on_train_batch_end(self, index, logs=None):
        if index == 0:
            for name, action in self.operations.items():
                self._fail(name, action)

    def _fail(self, name, action):
        model = self.model
        expected, values_before = snapshot(model), state(model)
        passed = self._passed(name, action)
        self.known[name] = len(set(passed))
        for number, point in enumerate(points(name, passed, self.long)):
            error = ERRORS[number % len(ERRORS)]
            with Boundaries(point, error) as boundaries:
                try:
                    action(model)
                except BaseException as raised:
                    outcome = raised
                else:
                    outcome = None
            assert boundaries.failed, (name, point, outcome)
            self.injected[name] += 1
            found = snapshot(model)
            changed = [k for k in expected if expected[k] != found[k]]
            if outcome is None:
                changed.append("no error")
            if not changed:
                assert_same_state(model, values_before)
                continue
            self.wrong.append((name, point, error.__name__, changed))
            break

    def _passed(self, name, action):
        """The boundaries of an operation up to its last, where it is made to
        fail as well."""
        with Boundaries(END.get(name, ENDS), Broken) as boundaries:
            with pytest.raises(Broken):
                action(self.model)
        self.injected[name] += 1
        return boundaries.passed


BEFORE = {b.__name__: b for b in (nothing, frozen, gated, taught)}


def _run(before, names, long, tmp_path):
    """A run in which the operations are broken off again and again.

    Args:
        before: function of a model.
        names: list of operations that come after it.
        long: bool.
        tmp_path: folder.

    Returns:
        `Counter` of faults.
    """
    larger = made(before)
    larger.optimizer.build(larger.trainable_variables)
    larger.grow({"num_layers": 4}, "msg", seed=4)
    path = tmp_path / "larger.weights.h5"
    larger.save_weights(path)
    operations = {
        name: OPERATIONS[name][1] or (lambda model: model.load_weights(path))
        for name in names
    }
    untouched = made(before)
    history = train(untouched, epochs=1).history
    refused = made(before)
    faults = Faults(operations, before, long)
    found = train(refused, epochs=1, callbacks=[faults]).history
    for operation, injected in faults.injected.items():
        known = faults.known[operation]
        print(f"{operation}: {injected} faults injected, of {known:,} calls")
    assert not faults.wrong, faults.wrong
    assert_same_state(refused, untouched)
    assert found == history
    return faults.injected


# TensorFlow and JAX trace functions again after each fault: a minute or two.
@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("name", BEFORE)
def test_a_fault_at_any_call_leaves_the_run_as_it_was(name, tmp_path):
    before = BEFORE[name]
    names = [n for n, (first, _) in OPERATIONS.items() if first is before]
    injected = _run(before, names, False, tmp_path)
    assert set(injected.values()) == {SAMPLE + 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_faults_all_along_leave_the_run_as_it_was(name, tmp_path):
    """Every call of the short operations; of the long ones every 25th, and 20
    others."""
    injected = _run(OPERATIONS[name][0], [name], True, tmp_path)
    assert injected[name] > 40


SCHEDULE = GrowthSchedule(
    [
        Stage(2, {"num_layers": 2}),
        Stage(4, {"num_layers": 3}, "net2net", seed=1),
    ]
)


def scheduled(callbacks=(), **options):
    """A run of two stages, and the model whether or not it was broken off."""
    model = compiled(mlp())
    growth = Growth(SCHEDULE, verbose=0, **options)

    def run():
        return train(model, epochs=9, callbacks=[growth, *callbacks])

    return model, run


@pytest.mark.grid
@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt, StopIteration])
def test_data_that_fail_where_a_stage_begins(error):
    """The run ends in the stage before, and goes on when it is called again."""

    class Failing:
        def __iter__(self):
            return self

        def __next__(self):
            raise error("no data")

    kind = KeyboardInterrupt if error is KeyboardInterrupt else GrowthError
    model, run = scheduled(data=Failing())
    with pytest.raises(kind, match="no data"):
        run()
    assert model.growth_history == []
    progress = model.callback_state["growth"]
    assert (progress["stage"], progress["steps"]) == (0, 2)
    train(model, epochs=9, callbacks=[Growth(SCHEDULE, verbose=0)])
    assert (progress["stage"], progress["steps"]) == (1, 4)
    assert [r.step for r in model.growth_history] == [2]


def test_a_callback_that_fails_after_a_growth():
    """What it raises ends the run; the model is grown, and trains on."""

    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, index, logs=None):
            if self.model.growth_history:
                raise Broken

    model, run = scheduled([Fails()])
    with pytest.raises(Broken):
        run()
    assert len(model.growth_history) == 1
    assert model.callback_state["growth"]["steps"] == 3
    train(model, epochs=1, callbacks=[Growth(SCHEDULE, verbose=0)])
    assert model.callback_state["growth"]["steps"] == 4


def test_a_model_that_is_not_finite_does_not_grow():
    model, run = scheduled()
    kernel = model.network.input_dense.kernel
    kernel.assign(kernel * np.nan)
    before = snapshot(model)
    with pytest.raises(GrowthError, match="not finite"):
        model.grow(LARGER)
    assert snapshot(model) == before
    with pytest.raises(GrowthError, match="not finite"):
        run()
    assert model.callback_state["growth"]["stage"] == 0


def test_a_loss_that_is_not_a_number_ends_no_stage():
    plateau = Plateau(2, every=1, at_most=8)
    schedule = [Stage(plateau, {"num_layers": 2}), Stage(9, dropout=0.3)]
    model = compiled(mlp())
    growth = Growth(GrowthSchedule(schedule), verbose=0)
    kernel = model.network.input_dense.kernel
    kernel.assign(kernel * np.nan)
    train(model, epochs=2, callbacks=[growth])
    assert model.callback_state["growth"]["stage"] == 0
