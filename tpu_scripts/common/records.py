"""What a run leaves to be looked at: TensorBoard, and lines of JSON.

`metrics.jsonl` has one line when a run begins or goes on, one for each growth
and each epoch, and one at the end. It is appended to, so that a run that was
broken off and went on is one file. In a bucket files cannot be appended to;
there it is written anew, from what stood in it.
"""

import json
import os
import time

import keras

from kgrow.architecture.architecture import count_parameters
from kgrow.backend.flops import training_flops

FILE = "metrics.jsonl"


class Records(keras.callbacks.Callback):
    """Writes a line for every epoch and every growth.

    Args:
        folder: string, a folder or `gs://...`; `None` to write nothing.
        growth: `kgrow.callbacks.Growth`, which knows how far the run is.
        inputs: function of a stage's index that gives the `KerasTensor`s of a
            batch.
        run: string, the name of the run.
    """

    # Nothing is read at the end of a batch.
    async_safe = True

    def __init__(self, folder, growth, inputs, run):
        super().__init__()
        self.folder = folder
        self.growth = growth
        self.inputs = inputs
        self.run = run
        self.flops = {}
        self.written = 0
        self._clock = None

    def write(self, event, **values):
        """Writes a line."""
        if self.folder is None:
            return
        line = {"event": event, "run": self.run, "time": time.time(), **values}
        append(self.folder, json.dumps(line, default=float))

    def on_epoch_begin(self, epoch, logs=None):
        del epoch, logs
        self._clock = time.perf_counter(), self.growth.progress.steps

    def on_epoch_end(self, epoch, logs=None):
        self.write_growths()
        progress = self.growth.progress
        start, before = self._clock
        seconds = time.perf_counter() - start
        steps = progress.steps - before
        flops = self.flops_per_step(progress.stage)
        self.write(
            "epoch",
            epoch=epoch,
            step=progress.steps,
            stage=progress.stage + 1,
            tokens=progress.tokens,
            seconds=seconds,
            steps_per_second=steps / seconds,
            flops_per_step=flops,
            teraflops_per_second=flops * steps / seconds / 1e12,
            parameters=count_parameters(self.model.network),
            sizes=self.model.growth_config,
            **{k: v for k, v in (logs or {}).items() if k != "stage"},
        )

    def flops_per_step(self, stage):
        """FLOPs of a training step, counted once a network."""
        key = id(self.model.network)
        if key not in self.flops:
            self.flops = {
                key: training_flops(self.model.network, self.inputs(stage))
            }
        return self.flops[key]

    def start_at(self, history):
        """Growths that a run had before it went on are written already."""
        self.written = len(history)

    def write_growths(self):
        """Writes the growths that are not written yet."""
        history = self.model.growth_history
        for receipt in history[self.written :]:
            self.write("growth", **receipt.to_dict())
        self.written = len(history)


def callbacks(options, folder, records):
    """The callbacks that write, on the process that does."""
    if folder is None:
        return []
    found = [records]
    if options.tensorboard:
        # Before the records, as Keras' callbacks go.
        found.insert(0, keras.callbacks.TensorBoard(folder, write_graph=False))
    return found


def append(folder, line):
    """Adds a line to a folder's `metrics.jsonl`."""
    if "://" in folder:
        import tensorflow as tf

        path = f"{folder.rstrip('/')}/{FILE}"
        before = ""
        if tf.io.gfile.exists(path):
            with tf.io.gfile.GFile(path) as file:
                before = file.read()
        with tf.io.gfile.GFile(path, "w") as file:
            file.write(f"{before}{line}\n")
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, FILE), "a") as file:
        file.write(f"{line}\n")
