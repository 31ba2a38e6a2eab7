"""A list of the tests that passed, so that a long run can be continued.

`pytest --passed FILE` leaves out the tests that FILE lists and adds those that
pass. Once anything that is tested changes, the list starts anew.
"""

import hashlib
import pathlib

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[2]
CODE = ("kgrow", "kgrow_cli", "tests", "examples", "notebooks", "tpu_scripts")


def fingerprint():
    """A hash of all that tests depend on in this repository."""
    found = hashlib.sha256()
    files = [ROOT / "pyproject.toml"]
    for folder in CODE:
        files += (p for p in (ROOT / folder).rglob("*") if p.is_file())
    for path in sorted(files):
        if (
            "__pycache__" not in path.parts
            and ".pytest_cache" not in path.parts
        ):
            found.update(str(path.relative_to(ROOT)).encode())
            found.update(path.read_bytes())
    return f"{keras.backend.backend()} {keras.__version__} {found.hexdigest()}"


class PassedTests:
    """Leaves out tests that passed before, and writes down those that pass.

    Under xdist, the process that hands out tests reads the list and sends it
    to the workers, and is the only one to write.
    """

    def __init__(self, config):
        worker = getattr(config, "workerinput", None)
        self.path = None if worker else pathlib.Path(config.option.passed)
        self.before = set(worker["passed"] if worker else self._read())
        self.failed = set()
        self.left_out = 0

    def _read(self):
        state = fingerprint()
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        if lines[:1] != [state]:
            lines = [state]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(f"{state}\n")
        return lines[1:]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["passed"] = sorted(self.before)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        done = [item for item in items if item.nodeid in self.before]
        if done:
            items[:] = [i for i in items if i.nodeid not in self.before]
            config.hook.pytest_deselected(items=done)

    def pytest_report_header(self):
        if self.path and self.before:
            return f"passed before, left out: {len(self.before)} tests"

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)
        elif self.path and report.when == "teardown":
            if report.nodeid not in self.failed:
                with self.path.open("a") as file:
                    file.write(f"{report.nodeid}\n")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        """All passed before: that nothing is left to run is no failure."""
        if self.before and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK
