"""How far a schedule has come: plain data that is saved with the weights."""

_START = {
    "stage": 0,
    "steps": 0,
    "closed": 0,
    "batches": 0,
    "epoch_steps": None,
    "cut": False,
    "tokens": 0,
    "seconds": 0.0,
    "stage_start": 0,
    "ends": None,
    "trigger": {},
    "looked": 0,
    "read": None,
    "entered": False,
    "events": [],
}


class Progress:
    """Counts over all calls of `fit`, held in a dict that JSON can hold.

    The dict is the state; this gives its entries names. Batches are counted
    when they begin, so that whatever a callback saves when one ends holds it,
    whichever order the callbacks are in.

    Args:
        state: dict, empty for a run that has not begun. It is changed.

    Attributes:
        stage: int, the stage that the model is in, from 0.
        steps: int, batches trained.
        batches: int, those of the present epoch.
        epoch_steps: int or `None`, how many it has.
        cut: bool, whether the present epoch ends early by the schedule.
        tokens: int.
        seconds: float, spent on training since the stage began.
        stage_start: int, the step at which it did.
        ends: int or `None`, the step at which a trigger ended it.
        trigger: dict, what the stage's trigger remembers.
        looked: int, the step of the last reading.
        read: `[batches, value]` of the last reading in this epoch, or `None`.
        entered: bool, whether the first stage's settings are in force.
        events: list of dicts, one for each stage that was entered: its number,
            the `step`, and its `config`.

    Example:

    >>> progress = Progress({})
    >>> progress.begin_epoch(2)
    >>> progress.count(1), progress.count(1)
    (None, None)
    >>> progress.steps, progress.epochs
    (2, 1)
    """

    def __init__(self, state):
        for key, value in _START.items():
            fresh = type(value)(value) if value is not None else None
            state.setdefault(key, fresh)
        object.__setattr__(self, "state", state)

    def __getattr__(self, name):
        try:
            return self.state[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        if name not in _START:
            raise AttributeError(name)
        self.state[name] = value

    @property
    def epochs(self):
        """Epochs that are over, the present one among them if all of its
        batches have begun."""
        return self.closed + self.is_whole

    @property
    def is_whole(self):
        """Whether the present epoch has begun its last batch."""
        if not self.batches:
            return False
        return self.cut or (
            self.epoch_steps is not None and self.batches >= self.epoch_steps
        )

    @property
    def stage_steps(self):
        """Batches trained in the present stage."""
        return self.steps - self.stage_start

    def begin_epoch(self, steps):
        """Closes the last epoch if it was whole, and begins another.

        Args:
            steps: int or `None`, batches of the new epoch if known.
        """
        self.closed = self.epochs
        self.batches = 0
        self.epoch_steps = steps
        self.cut = False
        self.read = None

    def count(self, batches, tokens=0):
        """Counts batches that begin, with the tokens of each."""
        self.steps += batches
        self.batches += batches
        self.tokens += batches * tokens

    def begin_stage(self, stage):
        """Goes on to a stage."""
        self.stage = stage
        self.entered = True
        self.stage_start = self.steps
        self.seconds = 0.0
        self.ends = None
        self.looked = self.steps
        self.trigger = {}
