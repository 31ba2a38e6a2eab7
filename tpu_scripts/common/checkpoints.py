"""What a run writes to go on from, and going on.

Two formats. `orbax` writes every device's part from where it lies, in the
background, to a folder or to `gs://`, and is the one for large models and
several hosts. `backup` is `kgrow.callbacks.BackupAndRestore`: one file, written
by one host, to a file system.

A run goes on before `fit` begins, not in the callback's `on_train_begin`: which
data come next depends on how far it was.
"""

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.callbacks import BackupAndRestore

FORMATS = ("orbax", "backup")


def add_flags(parser):
    """Adds the flags of checkpoints."""
    add = parser.add_argument
    add("--checkpoint-format", choices=FORMATS, default="orbax")
    add("--checkpoint-every", type=int, default=1000, metavar="STEPS")
    add("--keep", type=int, default=2, help="how many are kept, of orbax")


def make(options, processes=1):
    """The callback that writes checkpoints, or `None` without a folder.

    Args:
        options: flags.
        processes: int, how many there are.

    Raises:
        GrowthError: several hosts would write one file.
    """
    if options.checkpoints is None:
        return None
    if options.checkpoint_every < 1 or options.keep < 1:
        raise GrowthError(
            "Checkpoints are written every 1 steps or more, and 1 or more are "
            f"kept. Received: checkpoint_every={options.checkpoint_every}, "
            f"keep={options.keep}"
        )
    if options.checkpoint_format == "orbax":
        return OrbaxCheckpoints(
            options.checkpoints, options.checkpoint_every, options.keep
        )
    if processes > 1:
        raise GrowthError(
            "Several hosts cannot write one file. Take "
            "`--checkpoint-format orbax`. Received: "
            f"checkpoint_format={options.checkpoint_format!r}"
        )
    return Backups(options.checkpoints, options.checkpoint_every)


class OrbaxCheckpoints(keras.callbacks.OrbaxCheckpoint):
    """`OrbaxCheckpoint` over several calls of `fit`, numbered by steps.

    Keras' own closes its writer when `fit` ends; a schedule whose stages have
    other batches calls `fit` again.

    Args:
        folder: string, a local one or `gs://...`.
        every: int, steps from one to the next.
        keep: int, how many are kept.
    """

    # The data begin with the batch that comes next.
    skips = True

    def __init__(self, folder, every, keep):
        super().__init__(
            folder, save_freq=every, max_to_keep=keep, save_on_background=True
        )

    def restore(self, model):
        """Goes on from the last checkpoint, if there is one.

        Returns:
            bool, whether there was.
        """
        if self.checkpointer.latest is None:
            return False
        build_slots(model)
        model.load_weights(self.directory)
        return True

    def write(self):
        """Writes the model as it is, and waits for it."""
        latest = self.checkpointer.latest
        step = int(self.model.optimizer.iterations)
        if latest is None or latest.step != step:
            self._save_checkpoint(step)
        self.wait_until_finished()

    def on_train_end(self, logs=None):
        self.wait_until_finished()

    def close(self):
        self.checkpointer.close()


class Backups(BackupAndRestore):
    """`kgrow.callbacks.BackupAndRestore`, kept at the end.

    Args:
        folder: string, a local one.
        every: int, steps from one to the next.
    """

    # What was read of the data is read once more, and thrown away.
    skips = False

    def __init__(self, folder, every):
        super().__init__(folder, save_freq=every, delete_checkpoint=False)

    def restore(self, model):
        """Goes on from the last backup, if there is one.

        Returns:
            bool, whether there was.
        """
        self.begin(model)
        return self._found is not None

    def write(self):
        """Nothing: a backup is written within `fit`."""

    def close(self):
        pass


def build_slots(model):
    """Gives the optimizer its slots, which a file has values for."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
