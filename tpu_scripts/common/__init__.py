"""What the programs share, one concept a file.

```
settings.py       flags, and the configuration files that they override
devices.py        processes, devices, mesh and layout; before all else
layouts.py        which dimension of a transformer lies along which mesh axis
token_data.py     tokens: the standard library's source, TFDS, text, TFRecord
masking.py        some of them hidden, to be found
image_data.py     images: digits, TFDS
optimizing.py     optimizer and learning rate
checkpoints.py    what is written, and where a run goes on
records.py        TensorBoard, and one line of JSON an epoch
slices.py         TPU slices, and their devices without a TPU
stage_steps.py    the steps of a run's stages, compiled for a slice
slice_checks.py   what the compiler said, judged
widths.py         sizes that waste a part of the matrix unit
outlook.py        a run before it runs: sizes, memory, FLOPs
folders.py        whether a folder, or a bucket, can be written to
checking.py       checks one after the other, and what came of them
pretraining.py    train, grow, resume, evaluate
smoke.py          all of that in miniature
encoders.py       encoders to fine-tune, of KerasHub or of a run
finetuning.py     an encoder and a head, trained for a task
smoke_finetuning.py    that in miniature
glue.py, squad.py      data and heads of the tasks
glue_metrics.py, squad_metrics.py    their metrics
```

The programs run on JAX. The backend is chosen where Keras is first imported,
so this file, which is imported before, says so.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
