"""One run, from its line in the queue to the line of its result."""

import pathlib
import tempfile

import keras
import numpy as np

import kgrow
from kgrow.analysis.ledger import CostRecord, StageCost
from kgrow.analysis.run_log import RunFile
from kgrow.callbacks import Growth, Ledger
from laboratory import rates, recipes, validation
from laboratory.files import DONE
from laboratory.rungs import RUNGS

LOOKS = 10  # readings of a run
HELD_OUT = 204_800  # tokens on which the end of a run is judged
_GLANCE = 25_600  # and on which the readings before are taken

# Of a reading and of a growth, what the result keeps.
_READING = ("step", "tokens", "flops", "seconds", "learning_rate")
_GROWTH = ("step", "tokens", "flops", "seconds", "label", "strategy", "exact")


def run(spec, corpus, held_out=HELD_OUT):
    """Trains what a `RunSpec` says.

    Args:
        spec: `RunSpec`.
        corpus: `Corpus`.
        held_out: Integer, validation tokens.

    Returns:
        Dict, the line of the result but for what is said of the machine.
    """
    rung = RUNGS[spec.rung]
    steps = _rounded(rung.steps(spec.tokens, spec.batch))
    bench = _Bench(spec, rung, corpus, recipes.make(spec, rung, steps))
    lines = bench.train(steps)
    losses = validation.losses(bench.model, *_windows(corpus, rung, held_out))
    judged = validation.summary(losses)
    judged["bits_per_byte"] = corpus.bits_per_byte(
        judged["loss"], _windows(corpus, rung, held_out)[1]
    )
    return {
        "key": spec.key,
        "state": DONE,
        "name": spec.name,
        "spec": vars(spec),
        "steps": steps,
        "weights": {
            "blocks": rung.block_weights,
            "all": bench.model.network.count_params(),
        },
        "validation": judged,
        "corpus": corpus.fingerprint,
        "backend": keras.backend.backend(),
        "dtype": keras.config.floatx(),
        "keras": keras.__version__,
        "kgrow": kgrow.__version__,
        **_told(lines, judged["loss"]),
    }


class _Bench:
    def __init__(self, spec, rung, corpus, recipe):
        self.spec, self.rung, self.corpus = spec, rung, corpus
        self.recipe = recipe
        self.model = None

    def train(self, steps):
        """Trains, and returns the lines of the run's file."""
        with tempfile.TemporaryDirectory() as folder:
            self.folder = pathlib.Path(folder)
            if self.recipe.trains_small_apart:
                return self._small_then_large(steps)
            self.model = self._made(self.recipe.start, steps)
            growth = Growth(self.recipe.schedule, verbose=0)
            return self._fit("run", steps, self.spec.seed, "scratch", [growth])

    def _small_then_large(self, steps):
        small, large = self.recipe.schedule.stages
        alone = _rounded(small.until.count)
        # Other batches than those that the large model sees.
        data_seed = self.spec.seed + 1000
        trained = self.model = self._made(self.recipe.start, alone)
        self._fit("small", alone, data_seed, "scratch")
        self.model = self._made(self.recipe.start, steps)
        self.model.network.set_weights(trained.network.get_weights())
        self.model.grow(
            self.recipe.schedule.sizes[1],
            large.grown_by,
            data=self._batches(data_seed + 1),
            seed=self.spec.seed,
        )
        source = str(self.folder / "small.jsonl")
        return self._fit("run", steps, self.spec.seed, source)

    def _made(self, sizes, steps):
        spec = self.spec
        keras.utils.set_random_seed(spec.seed)
        model = kgrow.models.GPT2(**self.rung.fixed, **sizes)
        model.compile(
            keras.optimizers.AdamW(
                rates.schedule(spec.decay, spec.rate, steps),
                beta_2=0.99,
                weight_decay=spec.weight_decay,
                clipnorm=1.0,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    def _batches(self, seed):
        return self.corpus.batches(self.rung.length, self.spec.batch, seed)

    def _fit(self, name, steps, data_seed, source, callbacks=()):
        path = self.folder / f"{name}.jsonl"
        costs = Ledger(path, source=source, name=name, seed=self.spec.seed)
        self.model.fit(
            self._batches(data_seed),
            epochs=LOOKS,
            steps_per_epoch=steps // LOOKS,
            shuffle=False,
            verbose=0,
            validation_data=_windows(self.corpus, self.rung, _GLANCE),
            validation_batch_size=64,
            callbacks=[*callbacks, costs],
        )
        return RunFile(path).lines()


def _windows(corpus, rung, tokens):
    return corpus.held_out(rung.length, max(1, tokens // rung.length))


def _rounded(steps):
    return max(LOOKS, round(steps / LOOKS) * LOOKS)


def _told(lines, loss):
    """What the lines of a run's file say, in the form that is kept.

    Args:
        loss: Float, on all held-out tokens: that of the last reading.
    """
    readings = [line for line in lines if line["kind"] == "reading"]
    kept = [
        {
            **{name: reading[name] for name in _READING},
            "logs": {
                name: reading["logs"][name]
                for name in ("loss", "val_loss")
                if name in reading["logs"]
            },
        }
        for reading in readings
    ]
    kept[-1]["logs"]["val_loss"] = loss
    peaks = [line.get("peak_learning_rate") for line in lines]
    return {
        "readings": kept,
        "growths": [
            {name: line[name] for name in _GROWTH}
            for line in lines
            if line["kind"] == "growth"
        ],
        "stages": readings[-1]["stages"],
        "source": lines[0]["source"],
        "peak_learning_rate": max(p for p in peaks if p is not None),
    }


def as_run(result):
    """The `kgrow.Run` of a result, for `kgrow.savings`."""
    source = result["source"]
    if isinstance(source, dict):
        stages = [StageCost(**stage) for stage in source["stages"]]
        source = CostRecord(source["name"], stages)
    stages = [StageCost(**stage) for stage in result["stages"]]
    return kgrow.Run(
        name=result["name"],
        seed=result["spec"]["seed"],
        readings=tuple(result["readings"]),
        ledger=CostRecord(result["name"], stages),
        source=source,
        growths=tuple(result["growths"]),
        peak_learning_rate=result["peak_learning_rate"],
    )


def total_flops(result):
    """FLOPs of a run, those of its small model included."""
    found = as_run(result)
    return found.source_cost("flops") + np.float64(
        result["readings"][-1]["flops"]
    )
