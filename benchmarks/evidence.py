"""Does growing pay in runs that are long enough to lose? A queue of them.

Every run is a line of `results/evidence/queue.jsonl`; what it found becomes a
line of `results/evidence/runs.jsonl`. Both are committed, and say together
which runs exist. A worker takes one run after another, each in a process of its
own; one that is stopped in the middle leaves nothing behind, and its run begins
anew the next time:

    python benchmarks/evidence.py --status
    python benchmarks/evidence.py --minutes 30
    python benchmarks/evidence.py --report

When the queue is done, the worker adds what follows from the results: rates
until the best one lies between two others, then references of four lengths,
then methods, then variants of them (`laboratory/plan.py`).

A run that fails becomes a line too, with what it said; take the line away to
have it run again. A method is a function in `laboratory/recipes.py`.

Losses, tokens and FLOPs do not depend on what else the machine does. Seconds
do, and count only where `--idle` says that nothing else ran.
"""

import json
import os
import pathlib
import sys

# Before Keras is imported. Growing compiles several programs a run, the same
# ones in many runs.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "runs/evidence/programs")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

from laboratory.files import Queue, Results  # noqa: E402
from laboratory.spec import RunSpec  # noqa: E402
from laboratory.status import show  # noqa: E402
from laboratory.worker import work  # noqa: E402
from report import Flags, machine  # noqa: E402

FOLDER = pathlib.Path("runs") / "evidence"
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "benchmarks.md"


def parse(args=None):
    parser = Flags(__doc__, {"rung": "toy", "text": "stdlib"})
    parser.add_argument("--minutes", type=float, help="how long to work")
    parser.add_argument("--status", action="store_true", help="a table")
    parser.add_argument("--report", action="store_true", help="page, picture")
    parser.add_argument("--rung", default="XS", help="of the runs to add")
    parser.add_argument("--text", default="english", help="of the same")
    parser.add_argument(
        "--idle", action="store_true", help="nothing else runs: seconds count"
    )
    # How the worker starts a run.
    parser.add_argument("--run", metavar="SPEC", help="one run, as JSON")
    parser.add_argument("--corpus", type=pathlib.Path, help="for --run")
    parser.add_argument("--out", type=pathlib.Path, help="for --run")
    return parser.parse_args(args)


def run_one(options):
    """Runs one line of the queue, and writes its result."""
    from laboratory import corpus, training

    spec = RunSpec.from_json(options.run)
    result = training.run(spec, corpus.load(options.corpus))
    result["seconds_count"] = options.idle
    result["machine"] = machine()
    options.out.write_text(json.dumps(result))


def main(args=None):
    options = parse(args)
    if options.run:
        return run_one(options)
    folder = options.results / "evidence"
    queue = Queue(folder / "queue.jsonl")
    results = Results(folder / "runs.jsonl")
    if options.minutes:
        flags = ["--idle"] if options.idle else []
        command = [sys.executable, __file__, *flags]
        work(queue, results, options, command, FOLDER)
    if options.report:
        from laboratory.page import write

        print(write(results, folder, PAGE))
    if not options.report:
        show(queue, results)


if __name__ == "__main__":
    main()
