"""The two files of the laboratory: which runs are wanted, and which are done.

Both have a line of JSON for each run. A line is added whole or not at all: a
last line that was cut off is not read, and is taken away before the next one
is written. Of several lines for one run the first counts.

The state of a run is not written down, it is read off the results, so that
nothing has to be put right after a crash.
"""

import contextlib
import fcntl
import json
import os
import pathlib

from laboratory.spec import RunSpec

WAITING, DONE, FAILED = "waiting", "done", "failed"


class JsonLines:
    """Lines of JSON in a file that several processes may add to.

    Args:
        path: Path.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def read(self):
        """List of what the lines hold; empty without a file."""
        if not self.path.exists():
            return []
        *whole, _ = self.path.read_bytes().split(b"\n")
        return [json.loads(line) for line in whole]

    @contextlib.contextmanager
    def locked(self):
        """Keeps other processes from adding lines meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def append(self, file, values):
        """Adds a line to the file that `locked()` gave."""
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        file.write((json.dumps(values) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


class Queue:
    """The runs that are wanted, in their order.

    Args:
        path: Path of a file of JSON lines.
    """

    def __init__(self, path):
        self._lines = JsonLines(path)

    def specs(self):
        """`{key: RunSpec}`."""
        specs = (RunSpec(**line) for line in self._lines.read())
        return {spec.key: spec for spec in specs}

    def add(self, specs):
        """Adds runs that are not in the queue yet; returns how many."""
        with self._lines.locked() as file:
            known = self.specs()
            new = {s.key: s for s in specs if s.key not in known}
            for spec in new.values():
                self._lines.append(file, json.loads(spec.to_json()))
        return len(new)


class Results:
    """What runs found, a line each.

    Args:
        path: Path of a file of JSON lines.
    """

    def __init__(self, path):
        self._lines = JsonLines(path)

    def read(self):
        """`{key: dict}`, the first line of each run."""
        found = {}
        for line in self._lines.read():
            found.setdefault(line["key"], line)
        return found

    def add(self, result):
        """Adds the result of a run; `False` where it has one already."""
        with self._lines.locked() as file:
            if result["key"] in self.read():
                return False
            self._lines.append(file, result)
        return True


def states(queue, results):
    """`{key: "waiting", "done" or "failed"}` of the queue's runs."""
    found = results.read()
    return {
        key: found[key]["state"] if key in found else WAITING
        for key in queue.specs()
    }
