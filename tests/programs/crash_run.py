"""A training program that can be killed, at a moment of one's choice.

    python crash_run.py FOLDER MODE [--die PLACE ...] [--signal NAME]

Backups lie in `FOLDER/backup`, and the end of the run says in
`FOLDER/result.json` what came out. Given again without `--die`, it goes on.
"""

import argparse
import functools
import hashlib
import importlib
import json
import os
import pathlib
import signal

import keras
import numpy as np

import kgrow
from kgrow.callbacks import BackupAndRestore
from kgrow.schedules import GrowthSchedule, Reset, Rewarm, Stage

ROWS, LENGTH, VOCABULARY = 16, 6, 11


def dense_model():
    return kgrow.models.MLP(
        input_dim=LENGTH,
        output_dim=3,
        hidden_dim=4,
        intermediate_dim=6,
        num_layers=1,
        dropout=0.2,
    )


def token_model():
    return kgrow.models.GPT2(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=6,
        max_sequence_length=LENGTH,
        dropout=0.2,
    )


def dense_data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, LENGTH)).astype("float32")
    return x, np.stack([x[:, 0] * x[:, 1], x[:, 2], abs(x[:, 3])], axis=1)


def token_data(seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCABULARY, (ROWS, LENGTH + 1), dtype="int32")
    return ids[:, :-1], ids[:, 1:]


def stages(sizes, changes_data):
    """Plain growth, then one behind gates, then another dropout.

    Args:
        sizes: those of the first three stages.
        changes_data: bool, whether data and batch sizes change too.
    """
    extra = [
        {"data": "first", "batch_size": 4},
        {"batch_size": 8},
        {"data": "second"},
        {"batch_size": 4},
    ]
    made = [
        Stage(6, sizes[0]),
        Stage(10, sizes[1], "net2net", learning_rate=Reset(stretch=True)),
        Stage(17, sizes[2], ramp=5, learning_rate=Rewarm(3)),
        Stage(20, dropout=0.1),
    ]
    if not changes_data:
        return GrowthSchedule(made)
    return GrowthSchedule(
        [s.replaced(**e) for s, e in zip(made, extra, strict=True)]
    )


def batches_forever():
    """An iterator that goes on over epochs."""
    epoch = 0
    while True:
        x, y = dense_data(epoch)
        for i in range(0, ROWS, 4):
            yield x[i : i + 4], y[i : i + 4]
        epoch += 1


DENSE = (
    {"num_layers": 1},
    {"hidden_dim": 6, "num_layers": 2},
    {"intermediate_dim": 8, "num_layers": 3},
)
TOKENS = (
    {"num_layers": 1},
    {"hidden_dim": 8, "intermediate_dim": 8, "head_dim": 4},
    {"num_layers": 2, "intermediate_dim": 12},
)


def run_callback(model, backup, callbacks):
    """One stock `fit`, arrays that are shuffled, a backup each epoch."""
    schedule = stages(DENSE, False)
    x, y = dense_data()
    model.fit(
        x,
        y,
        batch_size=4,
        epochs=99,
        verbose=0,
        callbacks=[
            kgrow.callbacks.Growth(schedule, verbose=0),
            *callbacks,
            backup("epoch"),
        ],
    )


def run_stream(model, backup, callbacks):
    """One stock `fit` on an iterator that goes on, backups within epochs."""
    model.fit(
        batches_forever(),
        steps_per_epoch=3,
        epochs=99,
        verbose=0,
        callbacks=[
            kgrow.callbacks.Growth(stages(DENSE, False), verbose=0),
            *callbacks,
            backup(2),
        ],
    )


def run_stages(model, backup, callbacks):
    """`kgrow.fit`, data by stage, backups within epochs."""
    kgrow.fit(
        model,
        stages(DENSE, True),
        data={"first": dense_data(), "second": dense_data(1)},
        callbacks=[*callbacks, backup(1)],
        verbose=0,
    )


def run_tokens(model, backup, callbacks):
    """The same with a transformer, validated."""
    kgrow.fit(
        model,
        stages(TOKENS, True),
        data={"first": token_data(), "second": token_data(1)},
        validation_data=token_data(2),
        callbacks=[*callbacks, backup(2)],
        verbose=0,
    )


MODES = {
    "callback": (dense_model, "mse", run_callback),
    "stream": (dense_model, "mse", run_stream),
    "stages": (dense_model, "mse", run_stages),
    "tokens": (
        token_model,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_tokens,
    ),
}


class Diary(keras.callbacks.Callback):
    """Keeps what each epoch logged with the model, and says when training
    begins, for who is waiting to kill it."""

    def on_train_begin(self, logs=None):
        print("training", flush=True)

    def on_epoch_end(self, epoch, logs=None):
        diary = self.model.callback_state.setdefault("diary", {})
        diary[str(epoch)] = {k: float(v) for k, v in logs.items()}


def die_at(place, number):
    """Sends the signal to this process at a call of a function.

    Args:
        place: `module:function:n`, where the function's name may have dots:
            before its n-th call; with `:after` at the end, after it.
        number: the signal.
    """
    module, name, nth, *when = place.split(":")
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    function, calls = getattr(owner, name), [0]

    @functools.wraps(function)
    def dying(*args, **kwargs):
        calls[0] += 1
        last = calls[0] == int(nth)
        if last and not when:
            _die(number)
        result = function(*args, **kwargs)
        if last:
            _flush(args)
            _die(number)
        return result

    setattr(owner, name, dying)


def _flush(args):
    """What was written of an HDF5 file so far is on the disk."""
    file = getattr(args[0], "file", None) if args else None
    if hasattr(file, "flush"):
        file.flush()


def _die(number):
    os.kill(os.getpid(), number)


def tear(nth, number):
    """Sends the signal when the n-th file is on the disk up to its middle."""
    from kgrow.callbacks import backup_and_restore

    flush, calls = backup_and_restore._flush, [0]

    def torn(written):
        calls[0] += 1
        if calls[0] == int(nth):
            os.truncate(written, os.path.getsize(written) // 2)
            _die(number)
        flush(written)

    backup_and_restore._flush = torn


def digest(variables):
    found = hashlib.sha256()
    for v in variables:
        value = keras.ops.convert_to_numpy(v.value)
        found.update(f"{v.name} {value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def result(model):
    return {
        "weights": digest(model.variables),
        "optimizer": digest(model.optimizer.variables),
        "diary": model.callback_state["diary"],
        "steps": model.callback_state["growth"]["steps"],
        "config": model.growth_config,
        "receipts": [
            [r.step, r.relative_diff, r.target_config]
            for r in model.growth_history
        ],
        "rate": float(model.optimizer.learning_rate),
        "random": [float(np.random.rand())],
    }


def save_with(kind, folder):
    """A function of `save_freq` that makes the callback."""
    if kind == "keras":
        return lambda freq: keras.callbacks.BackupAndRestore(
            folder, freq, double_checkpoint=True
        )
    return lambda freq: BackupAndRestore(folder, freq)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--die", nargs="*", default=[])
    parser.add_argument("--tear")
    parser.add_argument("--signal", default="KILL")
    parser.add_argument("--backup", default="kgrow")
    arguments = parser.parse_args()
    number = getattr(signal, f"SIG{arguments.signal}")
    for place in arguments.die:
        die_at(place, number)
    if arguments.tear:
        tear(arguments.tear, number)
    keras.utils.set_random_seed(3)
    make, loss, run = MODES[arguments.mode]
    model = make()
    rate = keras.optimizers.schedules.CosineDecay(0.02, 25)
    model.compile(keras.optimizers.AdamW(rate), loss)
    backup = save_with(arguments.backup, arguments.folder / "backup")
    run(model, backup, [Diary()])
    # Whole or not there, as any file that somebody waits for.
    unfinished = arguments.folder / "result.unfinished"
    unfinished.write_text(json.dumps(result(model)))
    unfinished.rename(arguments.folder / "result.json")


if __name__ == "__main__":
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    main()
