"""A schedule that decides, while the model trains, when and how it grows."""

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import print_msg
from kgrow.schedules.adaptive.decision import decide
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.stage import Stage
from kgrow.schedules.stage import readable as readable_stage
from kgrow.schedules.trials.loss_rates import (
    flops_at,
    flops_per_step,
    readable,
)
from kgrow.schedules.trials.side_runs import measure
from kgrow.schedules.trials.variants import (
    check_sizes,
    differences,
    given_ladder,
    is_count,
)

KEY = "adaptive"
MEASURES = ("flops", "seconds")
_COUNTS = {
    "until": 1,
    "every": 1,
    "probe_steps": 4,
    "held_out": 1,
    "batch_size": 1,
    "seed": 0,
}


@keras.saving.register_keras_serializable("kgrow")
class Adaptive:
    """Grows one dimension at a time, when a short trial says that it pays.

    Every `every` steps the running model is copied several times. One copy
    trains on as it is, each other grows in one dimension, to its next size on
    the way to the target, and then trains for as many FLOPs as the first.
    Before and after, a loss is taken on held-out batches. The model grows as
    the best copy did if that one's loss fell faster than the first one's, for
    what it cost, by the `margin`; otherwise it stays, until it must grow to
    reach the target in time. The copies are thrown away. The running model,
    its optimizer, random states and data are as if nothing had happened.

    It runs in a stock `fit`: `kgrow.callbacks.Growth(Adaptive(...), data=...)`.
    Each decision is an entry of `log`, with all that it rests upon.
    `Adaptive.replay(log)` is the plain schedule that came of it, which gives
    the same weights to the bit, without any trial. What has been decided is
    saved with the model's weights, and a resumed run goes on from there.

    What this is, and what not. That one should grow once the present rate is
    lower than that of the next structure is said in the MSG paper, which
    calls it hindsight and does not do it. The rest is a heuristic of ours: a
    trial looks `probe_steps` ahead, and a larger model often pays much later
    than that; new parts have a shorter ramp in it than in the run; dimensions
    are tried one by one. Trials judge too late rather than too early, and
    `latest` has the last word. With a schedule of the learning rate, the
    copies decay as the run does.

    What it costs. A decision takes the FLOPs of `probe_steps` steps, once for
    the present model and once for every candidate, besides a few forward
    passes: `(1 + candidates) * probe_steps / every` of the run's own cost, as
    long as anything is left to grow. On JAX and TensorFlow every copy is
    compiled anew, which takes longer than the steps of a small model. While a
    decision is made, its copies are in memory beside the model, each with its
    optimizer (on JAX one at a time), and one set of weights is on disk. The
    log has what was spent.

    `probe_steps` must be so many that the loss falls by more than it goes up
    and down by from step to step. In fewer, all rates are noise, positive and
    negative ones, and it is mostly `latest` that decides.

    With several processes, measure in FLOPs: by the clock, each would decide
    for itself.

    Args:
        target: dict of the sizes to be reached.
        until: int, the training step at which training ends; or
        budget: number, the training FLOPs at which it does, trials included.
            Batches of `data` are taken to be as large as those of `fit`.
        every: int, steps between decisions.
        probe_steps: int, steps of a trial of the present model. Candidates
            get as many as cost the same.
        moves: optional dict from fields to lists of sizes to stop at on the
            way to the target; by default each is reached at once.
        strategy: how the model grows, see `Stage`.
        ramp: optional int or `Ramp`, see `Stage`. In trials it is cut to half
            their steps.
        learning_rate: what becomes of it at every growth, see `Stage`. Not
            with `budget`, where the end of the run is not known yet.
        latest: float in `(0, 1]`, the part of the run at which the target
            must have been reached.
        margin: float, the part by which a candidate must learn faster.
        measure: `"flops"` or `"seconds"`, what a loss must fall for. FLOPs
            are the same on every machine, and so is what follows from them.
        held_out: int, batches of `data` that losses are taken on; the trials
            train on the batches after them.
        batch_size: int, where the data are arrays.
        seed: int, from which the seeds of growths follow, and the choice of
            batches of arrays.
        verbose: 0 or 1, whether each decision is printed.

    Attributes:
        log: list of dicts, one for each decision, that JSON can hold: its
            `step`; the `sizes` before it; the `choice`, a field or `None`, and
            the `reason`; the rates and losses of the `present` model and of
            the `candidates`; the `flops` and `seconds` of the trials; the
            FLOPs `spent` on the run, and `measured` on all trials, so far;
            the `growth` as arguments of a `Stage`; and `until`, the step at
            which training ends as far as is known.

    Raises:
        GrowthError: an argument is none of what it may be; at the start of
            `fit`, if the target is smaller than the model, a move cannot be
            made, there is no data, or too little time for all moves.

    Example:

    >>> import numpy as np, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam", "mse")
    >>> x = np.random.default_rng(0).standard_normal((64, 2))
    >>> y = x[:, :1] * x[:, 1:]
    >>> adaptive = Adaptive({"hidden_dim": 8}, until=16, every=4,
    ...     probe_steps=4, strategy="direct", batch_size=8, verbose=0)
    >>> history = model.fit(x, y, batch_size=8, epochs=2, verbose=0,
    ...     callbacks=[kgrow.callbacks.Growth(adaptive, (x, y), verbose=0)])
    >>> model.growth_config["hidden_dim"], adaptive.log[-1]["choice"]
    (8, 'hidden_dim')
    >>> Adaptive.replay(adaptive.log).sizes
    [{'hidden_dim': 4}, {'hidden_dim': 8}]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Sec. 3.2.1, the
      last sentences on stage duration.
    """

    def __init__(
        self,
        target,
        until=None,
        budget=None,
        *,
        every=500,
        probe_steps=20,
        moves=None,
        strategy="msg",
        ramp=None,
        learning_rate=None,
        latest=0.75,
        margin=0.05,
        measure="flops",
        held_out=4,
        batch_size=32,
        seed=0,
        verbose=1,
    ):
        self.target = target
        self.until = until
        self.budget = budget
        self.every = every
        self.probe_steps = probe_steps
        self.moves = moves
        self.strategy = strategy
        self.ramp = ramp
        self.learning_rate = learning_rate
        self.latest = latest
        self.margin = margin
        self.measure = measure
        self.held_out = held_out
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self._state = {"log": []}
        self._followed = None
        self._check()

    def _check(self):
        check_sizes("target", self.target)
        if not isinstance(self.moves or {}, dict):
            raise GrowthError(
                "`moves` is a dict from fields to lists of sizes. Received: "
                f"moves={self.moves!r}"
            )
        if (self.until is None) == (self.budget is None):
            raise GrowthError(
                "Say where training ends: at a step, `until`, or after "
                "`budget` FLOPs. Received: "
                f"until={self.until}, budget={self.budget}"
            )
        if self.budget is not None and not self.budget > 0:
            raise GrowthError(
                "`budget` is a number of FLOPs. Received: "
                f"budget={self.budget!r}"
            )
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if name == "until" and value is None:
                continue
            if not is_count(value, least):
                raise GrowthError(
                    f"`{name}` is an integer of at least {least}. Received: "
                    f"{name}={value!r}"
                )
        if not 0 < self.latest <= 1:
            raise GrowthError(
                "`latest` is a part of the run, more than 0 and at most 1. "
                f"Received: latest={self.latest!r}"
            )
        if not self.margin >= 0:
            raise GrowthError(
                f"`margin` is at least 0. Received: margin={self.margin!r}"
            )
        if self.measure not in MEASURES:
            raise GrowthError(
                f"`measure` must be one of {MEASURES}. Received: "
                f"measure={self.measure!r}"
            )
        if self.budget is not None and self.learning_rate is not None:
            raise GrowthError(
                "With a `budget` the last step is not known when the model "
                "grows, and a policy of the learning rate may need it. Give "
                f"`until`. Received: learning_rate={self.learning_rate!r}"
            )
        # Let `Stage` check the arguments now, before the run starts.
        _ = self._stage(1, {}, 0).grown_by

    @property
    def log(self):
        """The decisions so far, oldest first."""
        return self._state["log"]

    @property
    def stages(self):
        raise GrowthError(
            "An adaptive schedule has no stages before it has run. Train with "
            "`model.fit(callbacks=[kgrow.callbacks.Growth(adaptive, "
            "data=...)])`; `kgrow.fit` takes plain schedules, such as "
            "`Adaptive.replay(log)`."
        )

    @classmethod
    def replay(cls, log, until=None):
        """The plain schedule that came of a run's decisions.

        Run on the same model and data, it ends with the same weights to the
        bit.

        Args:
            log: list, `adaptive.log`, through JSON or not.
            until: optional int, the step at which training ends, if it is
                another.

        Returns:
            `GrowthSchedule`.

        Raises:
            GrowthError: there is no decision in it.
        """
        if not log:
            raise GrowthError(
                "There is no decision to be replayed. Received: log=[]"
            )
        until = log[-1]["until"] if until is None else until
        return _written(log[0]["sizes"], log, until)

    def begin(self, model, data):
        """Makes sure that all can be done, before any training.

        Called by `Growth` at the start of `fit`.

        Args:
            model: `GrowableModel`.
            data: that of `Growth`.

        Returns:
            `GrowthSchedule`, what is decided so far.
        """
        if not hasattr(model, "growth_config"):
            raise GrowthError(
                "A growth schedule runs on a `kgrow.GrowableModel`. Received: "
                f"{model!r} (of type {type(model).__name__})"
            )
        if data is None:
            raise GrowthError(
                "An adaptive schedule measures how fast models learn, and "
                "needs data for that: `Growth(adaptive, data=...)`, with what "
                "`fit` takes. Received: data=None"
            )
        readable(data)
        if KEY not in model.callback_state:
            differences({}, self.target, model.growth_config)
        state = self._find_state(model, data)
        if self.until is not None:
            state["until"] = self.until
        schedule = self._follow(model, data)
        self._check_moves(model, state, schedule)
        self._check_time(model, state, data)
        return schedule

    def decide(self, model, step, data):
        """Decides whether the model is to grow before its next batch.

        Called by `Growth` before every batch; most of the time there is
        nothing to be done.

        Args:
            model: `GrowableModel`.
            step: int, the steps trained so far.
            data: that of `Growth`.

        Returns:
            `GrowthSchedule`, what is decided so far.
        """
        schedule = self._follow(model, data)
        state = self._state
        log = state["log"]
        if step < (log[-1]["step"] if log else 0) + self.every:
            return schedule
        ladders = self._ladders(model.growth_config, state["start"])
        if not ladders:
            return schedule
        entry = self._entry(model, step, data, ladders)
        log.append(entry)
        state["until"] = entry["until"]
        if self.verbose:
            grows = f"grows {entry['choice']}" if entry["choice"] else "stays"
            print_msg(f"kgrow: step {step:,}: {grows}: {entry['reason']}")
        return self._follow(model, data)

    def get_config(self):
        stage = self._stage(1, {}, 0).get_config()
        names = ("strategy", "ramp", "learning_rate")
        return {
            **{name: getattr(self, name) for name in _ARGUMENTS},
            **{name: stage[name] for name in names},
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        config = self.get_config().items()
        said = [f"{k}={v!r}" for k, v in config if v is not None]
        return f"Adaptive({', '.join(said)})"

    def __eq__(self, other):
        return type(self) is type(other) and (
            self.get_config() == other.get_config()
        )

    __hash__ = None

    def _find_state(self, model, data):
        """Reads the state saved with the model: the start, the end and the
        decisions."""
        if KEY not in model.callback_state:
            config, until = model.growth_config, self.until
            if until is None:
                batch = next(readable(data).batches(self.batch_size))
                until = self.budget // flops_per_step(model.network, batch)
            model.callback_state[KEY] = {
                "start": {f: config[f] for f in config if f in self.target},
                "until": max(1, int(until)),
                "log": [],
            }
        return model.callback_state[KEY]

    def _follow(self, model, data):
        """The schedule so far. A callback may have loaded another state."""
        state = self._find_state(model, data)
        seen = len(state["log"]), state["until"]
        if self._state is not state or self._followed[:2] != seen:
            schedule = _written(state["start"], state["log"], state["until"])
            self._state, self._followed = state, (*seen, schedule)
        return self._followed[-1]

    def _ladders(self, config, start):
        """The sizes that are still ahead, `{field: [size, ...]}`."""
        found = {}
        for field, last in self.target.items():
            sizes = [last]
            if field in (self.moves or {}):
                sizes = given_ladder(
                    "moves", field, self.moves[field], start[field], last
                )
            sizes = [size for size in sizes if size > config[field]]
            if sizes:
                found[field] = sizes
        return found

    def _check_moves(self, model, state, schedule):
        """Plans every growth that may come, each from the one before."""
        config, start = model.growth_config, state["start"]
        if set(self.target) != set(start) or any(
            config[field] > size for field, size in self.target.items()
        ):
            raise GrowthError(
                "The model is on the way to another target. To begin anew, "
                f"forget that: model.callback_state.pop('{KEY}') and "
                "model.callback_state.pop('growth', None). Received: "
                f"target={self.target}, with {config}"
            )
        unknown = sorted(set(self.moves or {}) - set(self.target))
        if unknown:
            raise GrowthError(
                f"There are moves of {unknown}, which the target does not "
                f"have. Received: moves={self.moves}, target={self.target}"
            )
        far, stages = 10**12, list(schedule.stages)
        stages[-1] = stages[-1].replaced(until=far)
        for field, sizes in self._ladders(config, start).items():
            for size in sizes:
                number = len(stages)
                stage = self._stage((number + 1) * far, {field: size}, number)
                stages.append(stage)
        GrowthSchedule(stages).check(model)

    def _check_time(self, model, state, data):
        """There must be a decision for every move before it is too late."""
        if state["log"]:
            return
        ladders = self._ladders(model.growth_config, state["start"])
        count = sum(map(len, ladders.values()))
        total, each = self.until, self.every
        if self.budget is not None:
            batch = next(readable(data).batches(self.batch_size))
            total = self.budget
            each *= flops_at(model, self.target, batch)
        if self.latest * total < count * each:
            unit = "steps" if self.budget is None else "FLOPs"
            raise GrowthError(
                f"There are {count} moves to be made, one every {self.every} "
                f"steps at most, before {self.latest * total:.4g} {unit} are "
                f"spent, and they may take {count * each:.4g}. Decide more "
                "often, or train longer. Received: "
                f"every={self.every}, latest={self.latest}, "
                f"until={self.until}, budget={self.budget}"
            )

    def _stage(self, until, sizes, index):
        return Stage(
            until,
            sizes,
            self.strategy,
            self.ramp,
            learning_rate=self.learning_rate,
            seed=self.seed + index,
        )

    def _entry(self, model, step, data, ladders):
        """Measures, decides, and says why."""
        state, log = self._state, self._state["log"]
        index = 1 + sum(entry["growth"] is not None for entry in log)
        stages = {
            field: self._stage(1, {field: sizes[0]}, index)
            for field, sizes in ladders.items()
        }
        found = measure(
            model,
            stages,
            readable(data).batches(self.batch_size, self.seed + len(log)),
            self.held_out,
            self.probe_steps,
            self.measure,
            self.target,
        )
        present, candidates = found["present"], found["candidates"]
        last = log[-1] if log else {"step": 0, "spent": 0, "measured": 0}
        spent = (step - last["step"]) * present["flops_per_step"]
        spent += last["spent"]
        measured = last["measured"] + found["flops"]
        left, each = self._left(step, spent + measured, found)
        choice, reason = decide(
            present["rate"],
            {field: run["rate"] for field, run in candidates.items()},
            self.margin,
            forced=left < each * sum(map(len, ladders.values())),
        )
        growth, until = None, self.until
        if choice is not None:
            growth = readable_stage(stages[choice].get_config())
            del growth["until"]
        if self.budget is not None:
            after = present if choice is None else candidates[choice]
            rest = self.budget - spent - measured
            until = step + max(1, int(rest // after["flops_per_step"]))
        config = model.growth_config
        return {
            "step": step,
            "sizes": {field: config[field] for field in state["start"]},
            "choice": choice,
            "reason": reason,
            **found,
            "measure": self.measure,
            "spent": spent,
            "measured": measured,
            "growth": growth,
            "until": until,
        }

    def _left(self, step, spent, found):
        """Budget left before the target must be reached, and budget between two
        decisions, in steps or FLOPs."""
        if self.budget is None:
            return self.latest * self.until - step, self.every
        each = self.every * found["target_flops_per_step"] + found["flops"]
        return self.latest * self.budget - spent, each


_ARGUMENTS = (
    "target",
    "until",
    "budget",
    "every",
    "probe_steps",
    "moves",
    "latest",
    "margin",
    "measure",
    "held_out",
    "batch_size",
    "seed",
    "verbose",
)


def _written(start, log, until):
    """The schedule that follows from decisions."""
    growths = [entry for entry in log if entry["growth"] is not None]
    bounds = [*(entry["step"] for entry in growths), until]
    stages = [Stage(bounds[0], start)]
    stages += [
        Stage(bound, **entry["growth"])
        for bound, entry in zip(bounds[1:], growths, strict=True)
    ]
    return GrowthSchedule(stages)
