"""Where things are in the repository."""

import pathlib

TESTS = pathlib.Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent
BENCHMARKS = REPOSITORY / "benchmarks"
PROGRAMS = TESTS / "programs"
GOLDEN = TESTS / "golden"
