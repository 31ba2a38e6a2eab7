"""Takes runs from the queue, one after another."""

import contextlib
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from laboratory import plan
from laboratory.files import FAILED
from laboratory.rungs import RUNGS

_TAIL = 2000  # characters of a failed run's messages


def work(queue, results, options, command, folder):
    """Runs what the queue holds until the time is over.

    Each run is a process of its own, so that the memory of one is free before
    the next, and a crash of one is no more than a line among the results. A
    run is begun only if it is likely to end in time.

    Args:
        queue: `Queue`.
        results: `Results`.
        options: Parsed flags: `minutes`, `rung`, `text`.
        command: List of strings; what runs one line, but for its arguments.
        folder: Path, where tokens and locks are kept.

    Returns:
        Integer, how many runs were added to the results.
    """
    # So that the run that is under way ends as well.
    signal.signal(signal.SIGTERM, _stop)
    end = time.monotonic() + 60 * options.minutes
    folder = pathlib.Path(folder)
    count, pace, tried = 0, 0.0, set()
    while True:
        spec, lock = _next(queue, results, options, folder, tried)
        if spec is None:
            return count
        with lock:
            tried.add(spec.key)
            size = _size(spec)
            begun = time.monotonic()
            if begun + pace * size > end:
                return count
            place = prepared(spec, folder)
            begun = time.monotonic()
            result = run_apart(spec, [*command, "--corpus", str(place)])
            pace = max(pace, (time.monotonic() - begun) / size)
            count += results.add(result)
            _tell(spec, result, time.monotonic() - begun)


def _stop(number, frame):
    raise SystemExit(f"The worker was stopped by signal {number}.")


def prepared(spec, folder):
    """The folder of a run's tokens, which are made if they are not there."""
    # Imported here: a worker that finds them needs no Keras.
    from laboratory import corpus

    return corpus.prepare(spec.text, RUNGS[spec.rung].vocabulary, folder)


def run_apart(spec, command):
    """Runs one line in a process of its own.

    Returns:
        Dict, the result; of a run that failed, what it said. A worker that is
        stopped stops the run, and there is no result.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, log = pathlib.Path(folder) / "out", pathlib.Path(folder) / "log"
        arguments = ["--run", spec.to_json(), "--out", str(out)]
        with log.open("wb") as messages:
            process = subprocess.Popen(
                [*command, *arguments],
                stdout=messages,
                stderr=subprocess.STDOUT,
            )
            try:
                process.wait()
            finally:
                process.kill()
                process.wait()
        if process.returncode == 0:
            return json.loads(out.read_text())
        if process.returncode < 0:
            raise SystemExit(
                f"The run {spec.name} was stopped by signal "
                f"{-process.returncode}; it is still to be done."
            )
        said = log.read_text(errors="replace")[-_TAIL:]
        return {
            "key": spec.key,
            "state": FAILED,
            "name": spec.name,
            "spec": vars(spec),
            "error": said,
        }


def _next(queue, results, options, folder, tried):
    """The first run that nobody has done or is doing, and its lock."""
    plan.extend(queue, results, options.rung, options.text)
    done = results.read()
    for key, spec in queue.specs().items():
        if key in tried or key in done:
            continue
        lock = _claim(folder / "claims" / key)
        if lock is not None:
            return spec, lock
    return None, None


def _claim(path):
    """A lock that the system gives back when the process ends, however it
    ends; `None` where another worker has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return contextlib.closing(os.fdopen(handle, "w"))


def _size(spec):
    """What a run takes, about, in the same unit for all."""
    rung = RUNGS[spec.rung]
    return spec.tokens * rung.block_weights**2


def _tell(spec, result, seconds):
    told = result["state"]
    if "validation" in result:
        told = f"{result['validation']['loss']:.4f}"
    print(
        f"{spec.rung} {spec.text} {spec.name}, {spec.decay}, rate "
        f"{spec.rate:g}, {spec.tokens:g} tokens a weight, seed {spec.seed}: "
        f"{told} ({seconds:.0f} s)",
        flush=True,
    )
