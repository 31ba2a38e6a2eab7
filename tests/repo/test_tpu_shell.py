"""The shell scripts for TPUs, with a gcloud that only pretends.

The pretended one writes down what it is asked, answers with the states a test
gives it, and runs what is sent to a worker in a directory that stands for that
worker. So a command goes all the way: quoted, copied, unpacked, set up and run.
"""

import collections
import doctest
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time

import pytest
from helpers.paths import REPOSITORY

ROOT = REPOSITORY
SCRIPTS = ROOT / "tpu_scripts"

pytestmark = pytest.mark.once

COMMANDS = sorted(path.name for path in SCRIPTS.glob("*.sh"))
LIBRARY = sorted(path.name for path in SCRIPTS.glob("lib/*.sh"))

SETTINGS = {
    "PROJECT": "p",
    "ZONE": "z",
    "TPU_NAME": "t",
    "ACCELERATOR_TYPE": "v6e-16",
    "RUNTIME_VERSION": "r",
    "CLUSTER": "c",
}
PLACE = ["--project=p", "--zone=z"]
TPUS = ["gcloud", "compute", "tpus"]

GCLOUD = r"""
#!/usr/bin/env bash
set -euo pipefail
desk=$PWD
cd "$FAKE"
printf '%s\0' "$@" >"calls/$EPOCHREALTIME-$$"

# The first line of a file, which goes unless it is the last.
pop() {
    head -n 1 "$1"
    if (($(wc -l <"$1") > 1)); then sed -i 1d "$1"; fi
}

tell() {
    case $1 in
    ABSENT) echo 'ERROR: (gcloud) NOT_FOUND: no such resource' >&2; exit 1 ;;
    BROKEN) echo 'ERROR: (gcloud) no network' >&2; exit 1 ;;
    *) echo "$1" ;;
    esac
}

case "$*" in
*'queued-resources describe'*) tell "$(pop request)" ;;
*'queued-resources create'*)
    [[ ! -e refused ]] || exit 1
    cp after-create request
    echo READY >vm
    ;;
*'queued-resources delete'*) echo ABSENT >request ;;
*networkEndpoints*) cat count ;;
*'tpu-vm describe'*) tell "$(pop vm)" ;;
*'tpu-vm scp'*)
    [[ ! -s scp ]] || [[ $(pop scp) == ok ]] || exit 1
    cd "$desk"
    for home in "$FAKE"/worker-*; do cp "$5" "$home/${6#*:}"; done
    ;;
*'tpu-vm ssh'*)
    for word; do
        case $word in
        --worker=*) home=$FAKE/worker-${word#*=} ;;
        --command=*) command=${word#*=} ;;
        esac
    done
    plan=run
    if [[ $command == *on_worker.sh* && $command != *--stop* ]]; then
        plan=$(pop "$home/plan")
    fi
    [[ $plan != lost ]] || exit 255
    [[ $command != *--stop* || ! -e $home/unreachable ]] || exit 255
    cd "$home"
    export HOME=$home TMPDIR=$home PATH=$FAKE/vm-bin:$PATH KGROW_PATIENCE=2
    if [[ $plan == preempt ]]; then
        bash -c "$command" | grep -v '^worker finished'
        echo SUSPENDED >"$FAKE/request"
        exit 255
    fi
    if [[ $plan == broken ]]; then
        # The connection goes, and what hangs on it; gcloud connects again.
        setsid bash -c "$command" &
        until [[ -s $home/pid ]]; do sleep 0.05; done
        kill -KILL -- "-$!"
    fi
    exec bash -c "$command"
    ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""

# On a worker: a pip that brings a uv, which makes an environment around PYTHON.
PYTHON3 = r"""
#!/usr/bin/env bash
set -euo pipefail
while [[ $1 != --target ]]; do shift; done
mkdir -p "$2/bin"
cp "$(dirname "$0")/uv" "$2/bin/uv"
"""
UV = r"""
#!/usr/bin/env bash
set -euo pipefail
printf '%s\n' "$*" >>"$HOME/uv-calls"
if [[ $1 == venv ]]; then
    mkdir -p "${*: -1}/bin"
    ln -sf PYTHON "${*: -1}/bin/python"
fi
"""

# Nothing else is on the PATH: a gcloud of the person who runs the tests least
# of all.
TOOLS = """
    bash cat cp date dirname env grep gzip head ln mkdir mv rm sed setsid
    sleep tail tar tr wc
""".split()

# A training program: each call does one stage and writes it to the bucket.
TOY = """
import json, pathlib, sys
bucket = pathlib.Path(sys.argv[1])
done = json.loads(bucket.read_text()) if bucket.exists() else []
bucket.write_text(json.dumps(done + [len(done)]))
print("stage", len(done))
"""


def _program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Cloud:
    """A directory that stands for a cloud, and a shell to use it from."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "calls").mkdir()
        (folder / "desk").mkdir()
        (folder / "tools").mkdir()
        for tool in TOOLS:
            (folder / "tools" / tool).symlink_to(shutil.which(tool))
        _program(folder / "bin/gcloud", GCLOUD)
        _program(folder / "vm-bin/python3", PYTHON3)
        _program(folder / "vm-bin/uv", UV.replace("PYTHON", sys.executable))
        self.says(request="ACTIVE", vm="READY", count="2")
        self.says(**{"after-create": "PROVISIONING\nACTIVE"})
        (folder / "nothing.sh").touch()
        self.workers(2)

    def says(self, **files):
        for name, text in files.items():
            (self.folder / name).write_text(text + "\n")

    def workers(self, count, *plans):
        """Workers, and what becomes of a command on each, call by call."""
        self.says(count=str(count))
        for number in range(count):
            home = self.folder / f"worker-{number}"
            home.mkdir(exist_ok=True)
            plan = plans[number] if number < len(plans) else "run"
            (home / "plan").write_text(plan + "\n")

    def environment(self, gcloud=True, **changes):
        path = str(self.folder / "tools")
        if gcloud:
            path = f"{self.folder / 'bin'}:{path}"
        given = {**SETTINGS, "FAKE": str(self.folder), "PATH": path}
        given |= {"HOME": str(self.folder / "desk"), **changes}
        # An env.sh of the person who runs the tests is none of their business.
        given.setdefault("KGROW_TPU_ENV", str(self.folder / "nothing.sh"))
        return {k: v for k, v in given.items() if v is not None}

    def run(self, script, *arguments, **changes):
        return subprocess.run(
            [shutil.which("bash"), str(SCRIPTS / script), *arguments],
            env=self.environment(**changes),
            cwd=self.folder / "desk",
            capture_output=True,
            text=True,
            timeout=120,
        )

    def calls(self, containing=""):
        """The calls of gcloud so far: lists of words, in their order."""
        found = []
        for path in sorted((self.folder / "calls").iterdir()):
            words = path.read_text().split("\0")[:-1]
            if containing in " ".join(words):
                found.append(words)
        return found

    def on_all(self, *command, options=()):
        return self.run(
            "run_all_workers.sh",
            *("--poll", "0.05", "--grace", "60"),
            *("--logs", "logs", *options, "--", *command),
        )

    def resume(self, *command, options=()):
        # In front of a file that stands for one in a bucket: gs:// as it must.
        return self.run(
            "resume_spot.sh",
            *("--poll", "0.05", "--backoff", "0", "--settle", "0"),
            *("--logs", "logs", *options, "--", *command, "gs://b"),
        )


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


@pytest.fixture
def ready(cloud):
    """A cloud whose workers are set up, so that only commands take time."""
    done = cloud.on_all("true", options=["--setup"])
    assert done.returncode == 0, done.stderr
    for path in (cloud.folder / "calls").iterdir():
        path.unlink()
    return cloud


def _lines(done):
    """What a dry run printed: lists of words. Each run has a number."""
    assert done.returncode == 0, done.stderr
    text = re.sub(r"--run \d{8}-\d{6}-\d+ ", "--run ID ", done.stdout)
    return [shlex.split(line) for line in text.splitlines()]


def _tree(*folders):
    return {
        path
        for folder in folders
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


# -- how they are written


def test_shellcheck_has_nothing_to_say():
    checker = pathlib.Path(sys.executable).with_name("shellcheck")
    found = str(checker) if checker.exists() else shutil.which("shellcheck")
    assert found, "install the dev extra, which brings shellcheck"
    done = subprocess.run(
        [found, "--external-sources", "--source-path=SCRIPTDIR"]
        + [str(SCRIPTS / name) for name in COMMANDS]
        + [str(SCRIPTS / "lib/on_worker.sh"), str(SCRIPTS / "env.sh.example")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", [*COMMANDS, "lib/on_worker.sh"])
def test_the_house_rules(name):
    path = SCRIPTS / name
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n#\n# ")
    assert "\nset -euo pipefail\n" in text
    assert path.stat().st_mode & stat.S_IXUSR
    assert max(map(len, text.splitlines())) <= 80 or name == "xpk_workload.sh"


@pytest.mark.parametrize("name", [*COMMANDS, *(f"lib/{n}" for n in LIBRARY)])
def test_nothing_is_evaluated(name):
    assert not re.search(r"\beval\b", (SCRIPTS / name).read_text())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_the_comment_at_the_top(name, cloud):
    done = cloud.run(name, "--help", PROJECT=None, gcloud=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert name in done.stdout and "--dry-run" in done.stdout
    options = set(
        re.findall(r"^ *(--[a-z-]+)\)", (SCRIPTS / name).read_text(), re.M)
    )
    assert options - {"--help"} <= set(re.findall(r"--[a-z-]+", done.stdout))


# -- dry runs: the exact lines, and nothing else


def _ssh(worker, command):
    after = (
        'status=$?; echo "worker finished with status $status"; exit $status'
    )
    return [
        *(*TPUS, "tpu-vm", "ssh", "t", *PLACE, f"--worker={worker}", "--quiet"),
        "--ssh-flag=-o ServerAliveInterval=30",
        "--ssh-flag=-o ServerAliveCountMax=4",
        "--ssh-flag=-o ConnectTimeout=20",
        f"--command={command}; {after}",
    ]


def _archive(path):
    return [
        *("tar", "-czf", path, "-C", str(ROOT), "--exclude=__pycache__"),
        *("--exclude=tpu_scripts/env.sh", "--exclude=tpu_scripts/logs"),
        *("kgrow", "tpu_scripts", "pyproject.toml"),
    ]


def _copy(logs):
    return [
        _archive(f"{logs}/project.tgz"),
        [*TPUS, "tpu-vm", "scp", f"{logs}/project.tgz", "t:kgrow-project.tgz"]
        + [*PLACE, "--worker=all", "--quiet"],
    ]


UNPACK = (
    "mkdir -p kgrow && rm -rf kgrow/kgrow kgrow/tpu_scripts && "
    "tar -xzf kgrow-project.tgz -C kgrow"
)
SETUP = f"{UNPACK} && bash kgrow/tpu_scripts/setup_vm.sh"
ON_WORKER = "bash kgrow/tpu_scripts/lib/on_worker.sh --run ID"
SLICE = ["--accelerator-type=v6e-16"]
DESCRIBE = [*TPUS, "queued-resources", "describe", "t", *PLACE] + [
    "--format=value(state.state)"
]
NODE = [*TPUS, "tpu-vm", "describe", "t", *PLACE, "--format=value(state)"]
COUNT = NODE[:-1] + ["--format=value(networkEndpoints.len())"]
CREATE = [
    *(*TPUS, "queued-resources", "create", "t", *PLACE, "--node-id=t", *SLICE),
    "--runtime-version=r",
]
DELETE = [*TPUS, "queued-resources", "delete", "t", *PLACE]

TRAIN = ["python", "a b.py", "--x=it's", "$HOME", ""]
TRAIN_QUOTED = "python 'a b.py' '--x=it'\\''s' '$HOME' ''"

DRY = {
    "create_tpu": (
        ["create_tpu.sh"],
        [[*TPUS, "tpu-vm", "create", "t", *PLACE, *SLICE, "--version=r"]],
    ),
    "create_tpu, spot": (
        ["create_tpu.sh", "--spot", "--", "--labels=a=b c"],
        [
            [*TPUS, "tpu-vm", "create", "t", *PLACE, *SLICE, "--version=r"]
            + ["--spot", "--labels=a=b c"]
        ],
    ),
    "create_queued_resource": (["create_queued_resource.sh"], [CREATE]),
    "create_queued_resource, spot": (
        ["create_queued_resource.sh", "--spot", "--", "--reserved"],
        [[*CREATE, "--spot", "--reserved"]],
    ),
    "wait_active": (["wait_active.sh"], [DESCRIBE]),
    "delete": (["delete.sh"], [[*DELETE, "--force"]]),
    "delete, asking nobody": (
        ["delete.sh", "--yes", "--async"],
        [[*DELETE, "--quiet", "--async", "--force"]],
    ),
    "delete, a TPU VM": (
        ["delete.sh", "--tpu-vm"],
        [[*TPUS, "tpu-vm", "delete", "t", *PLACE]],
    ),
    "run_all_workers": (
        ["run_all_workers.sh", "--logs", "l", "--", *TRAIN],
        [
            COUNT,
            *_copy("l"),
            _ssh(0, UNPACK),
            _ssh(0, f"{ON_WORKER} {TRAIN_QUOTED}"),
        ],
    ),
    "run_all_workers, two of them, set up": (
        ["run_all_workers.sh", "--logs", "l", "--setup", "--workers", "2"]
        + ["--", "true"],
        [
            *(*_copy("l"), _ssh(0, SETUP), _ssh(1, SETUP)),
            *(_ssh(0, f"{ON_WORKER} true"), _ssh(1, f"{ON_WORKER} true")),
        ],
    ),
    "run_all_workers, once more": (
        ["run_all_workers.sh", "--no-copy", "--workers", "1", "--", "true"],
        [_ssh(0, f"{ON_WORKER} true")],
    ),
    "resume_spot": (
        ["resume_spot.sh", "--logs", "l", "--", "x", "gs://b"],
        [
            *(DESCRIBE, NODE, [*DELETE, "--quiet", "--force"]),
            *([*CREATE, "--spot"], DESCRIBE, COUNT, *_copy("l/attempt-1")),
            *(_ssh(0, SETUP), _ssh(0, f"{ON_WORKER} x gs://b")),
        ],
    ),
    "xpk_workload": (
        ["xpk_workload.sh", "--stage", "s", "--spot", "--num-slices", "2"]
        + ["--name", "n", "--", *TRAIN],
        [
            ["mkdir", "-p", "s/project"],
            _archive("s/project.tgz"),
            ["tar", "-xzf", "s/project.tgz", "-C", "s/project"],
            [
                *("xpk", "workload", "create", "--cluster=c", "--workload=n"),
                *(*PLACE, "--tpu-type=v6e-16", "--num-slices=2"),
                *("--max-restarts=50", "--base-docker-image=python:3.12"),
                *("--script-dir=s/project", "--spot"),
                "--command=bash tpu_scripts/setup_vm.sh && "
                f"bash tpu_scripts/lib/on_worker.sh {TRAIN_QUOTED}",
            ],
        ],
    ),
}


@pytest.mark.parametrize("case", DRY)
def test_dry_run_prints_the_exact_lines(case, cloud):
    (script, *arguments), expected = DRY[case]
    before = _tree(cloud.folder, SCRIPTS)
    done = cloud.run(script, "--dry-run", *arguments, gcloud=False)
    assert _lines(done) == expected
    assert _tree(cloud.folder, SCRIPTS) - before <= {
        cloud.folder / "nothing.sh"
    }
    assert cloud.calls() == []


def test_dry_run_of_the_setup(cloud):
    done = cloud.run("setup_vm.sh", "--dry-run", HOME="/h")
    uv = ["/h/.kgrow-uv/bin/uv"]
    install = [*uv, "pip", "install", "--python", "/h/kgrow-venv/bin/python"]
    pip, venv, *installs = _lines(done)
    assert pip[:-1] == (
        ["python3", "-m", "pip", "install", "--quiet", "--upgrade"]
        + ["--target", "/h/.kgrow-uv"]
    )
    assert re.fullmatch(r"uv==[\d.]+", pip[-1])
    assert venv == [*uv, "venv", "--clear", "--python", "3.12", "/h/kgrow-venv"]
    assert installs == [
        [*install, "-r", str(SCRIPTS / "requirements.txt")],
        [*install, "--no-deps", "-r", str(SCRIPTS / "requirements-hub.txt")],
    ]


def test_dry_run_from_the_environment(cloud):
    done = cloud.run("create_queued_resource.sh", DRY_RUN="yes")
    assert _lines(done) == [CREATE]
    assert cloud.calls() == []


def test_optional_settings_reach_the_command(cloud):
    done = cloud.run(
        *("create_queued_resource.sh", "--dry-run"),
        NETWORK="n",
        SUBNETWORK="s",
        SERVICE_ACCOUNT="a@b",
        QUEUED_RESOURCE="q",
    )
    (line,) = _lines(done)
    assert line[5:9] == ["q", *PLACE, "--node-id=t"]
    assert line[10:13] == ["--network=n", "--subnetwork=s"] + [
        "--service-account=a@b"
    ]


# -- settings and errors

CALLS = {
    "create_tpu.sh": [],
    "create_queued_resource.sh": [],
    "wait_active.sh": [],
    "delete.sh": [],
    "run_all_workers.sh": ["--", "true"],
    "resume_spot.sh": ["--", "true", "gs://b"],
    "xpk_workload.sh": ["--", "true"],
}


def test_every_command_is_called_here():
    assert {*CALLS, "setup_vm.sh"} == set(COMMANDS)


@pytest.mark.parametrize("script", CALLS)
def test_a_missing_setting_is_named(script, cloud):
    done = cloud.run(script, *CALLS[script], PROJECT=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert "PROJECT is not set: the Google Cloud project" in done.stderr
    assert "env.sh.example" in done.stderr
    assert cloud.calls() == []


@pytest.mark.parametrize("script", CALLS)
def test_a_missing_program_is_named(script, cloud):
    done = cloud.run(script, *CALLS[script], gcloud=False)
    program = "xpk" if script == "xpk_workload.sh" else "gcloud"
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the program '{program}' is not on the PATH" in done.stderr
    assert "--dry-run" in done.stderr


@pytest.mark.parametrize(
    "call, message",
    [
        ("create_tpu.sh --sport", "unknown argument: --sport"),
        ("create_queued_resource.sh x", "unknown argument: x"),
        ("delete.sh --force", "unknown argument: --force"),
        ("setup_vm.sh now", "unknown argument: now"),
        ("wait_active.sh --timeout", "--timeout needs a value"),
        ("wait_active.sh --timeout 1m", "Received: --timeout=1m"),
        ("wait_active.sh --poll -1", "Received: --poll=-1"),
        ("run_all_workers.sh", "no command. It follows --"),
        ("run_all_workers.sh python x", "unknown argument: python. The comm"),
        ("run_all_workers.sh --workers 0 -- x", "Received: --workers=0"),
        ("run_all_workers.sh --logs", "--logs needs a value"),
        ("resume_spot.sh --retries few -- x", "Received: --retries=few"),
        ("resume_spot.sh -- x --checkpoints here", "names no bucket"),
        ("xpk_workload.sh --num-slices 0 -- x", "Received: --num-slices=0"),
        ("lib/on_worker.sh", "no command"),
        ("lib/on_worker.sh true", "there is no Python in"),
    ],
)
def test_errors_say_what_came_and_start_nothing(call, message, cloud):
    done = cloud.run(*call.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert cloud.calls() == []
    assert list((cloud.folder / "desk").iterdir()) == []


def test_the_example_sets_everything_and_the_environment_wins(cloud):
    example = (SCRIPTS / "env.sh.example").read_text()
    needed = set(
        re.findall(
            r"need ([A-Z_ ]+)",
            "".join(path.read_text() for path in SCRIPTS.glob("**/*.sh")),
        )
    )
    named = {name for names in needed for name in names.split()}
    assert named <= set(re.findall(r': "\$\{(\w+):=', example))
    done = cloud.run(
        *("create_tpu.sh", "--dry-run"),
        **{name: None for name in SETTINGS if name != "ZONE"},
        KGROW_TPU_ENV=str(SCRIPTS / "env.sh.example"),
    )
    (line,) = _lines(done)
    assert line[5:9] == ["kgrow", "--project=my-project", "--zone=z"] + [
        "--accelerator-type=v5litepod-16"
    ]


def test_settings_that_are_not_there(cloud):
    done = cloud.run("delete.sh", KGROW_TPU_ENV="/no/such/env.sh")
    assert done.returncode == 2
    assert "Received: KGROW_TPU_ENV=/no/such/env.sh" in done.stderr


# -- waiting


@pytest.mark.parametrize(
    "states, status, asked",
    [
        ("ACTIVE", 0, 1),
        ("ACCEPTED WAITING_FOR_RESOURCES PROVISIONING ACTIVE", 0, 4),
        ("CREATING BROKEN BROKEN ACTIVE", 0, 4),
        ("WAITING_FOR_RESOURCES FAILED", 3, 2),
        ("PROVISIONING SUSPENDING", 3, 2),
        ("SUSPENDED", 3, 1),
        ("DELETING", 3, 1),
        ("ABSENT", 3, 1),
        ("ACCEPTED BROKEN", 1, 6),
        ("ACCEPTED ODD", 1, 2),
    ],
)
def test_wait_active(states, status, asked, cloud):
    cloud.says(request=states.replace(" ", "\n"))
    done = cloud.run("wait_active.sh", "--poll", "0")
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert cloud.calls() == [DESCRIBE[1:]] * asked
    last = states.split()[-1]
    assert ("no network" if last == "BROKEN" else last) in done.stderr


def test_wait_active_gives_up_in_time(cloud):
    cloud.says(request="WAITING_FOR_RESOURCES")
    done = cloud.run("wait_active.sh", "--poll", "0.1", "--timeout", "1")
    assert done.returncode == 4
    assert "the request stays in the queue" in done.stderr
    assert cloud.calls()


# -- deleting


def test_delete_what_is_there(cloud):
    done = cloud.run("delete.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert cloud.calls("delete") == [[*DELETE[1:], "--quiet", "--force"]]


def test_delete_what_is_not_there(cloud):
    cloud.says(request="ABSENT")
    done = cloud.run("delete.sh", "--yes")
    assert done.returncode == 0
    assert "nothing to delete" in done.stderr
    assert cloud.calls("delete") == []


def test_delete_without_an_answer_is_an_error(cloud):
    cloud.says(request="BROKEN")
    done = cloud.run("delete.sh", "--yes")
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert cloud.calls("delete") == []


# -- running on all workers

ARGUMENTS = ["a b", "it's", '"q"', "$HOME `x`", "", "*", "a\nb", "\\", "é;&"]
ECHO = "import json, os, sys; print(json.dumps(sys.argv[1:]), os.getcwd())"


def test_words_arrive_as_they_were(ready):
    done = ready.on_all("python", "-c", ECHO, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    for number in range(2):
        log = ready.folder / f"desk/logs/run.worker-{number}.log"
        first, last = log.read_text().splitlines()
        home = ready.folder / f"worker-{number}/kgrow"
        assert first == f"{json.dumps(ARGUMENTS)} {home}"
        assert last == "worker finished with status 0"


def test_a_run_uses_the_copy_and_its_environment(ready):
    code = (
        "import importlib.util, os, sys; "
        "print(importlib.util.find_spec('kgrow').origin, sys.executable, "
        "os.environ['KERAS_BACKEND'], sep='\\n')"
    )
    done = ready.on_all("python", "-c", code)
    assert done.returncode == 0, done.stderr
    home = ready.folder / "worker-1"
    log = ready.folder / "desk/logs/run.worker-1.log"
    assert log.read_text().splitlines()[:3] == [
        str(home / "kgrow/kgrow/__init__.py"),
        str(home / "kgrow-venv/bin/python"),
        "jax",
    ]
    assert not (home / "kgrow/tpu_scripts/env.sh").exists()


def test_setup_is_done_once_until_it_changes(cloud):
    home = cloud.folder / "worker-0"
    cloud.workers(1)
    for _ in range(2):
        done = cloud.on_all("true", options=["--setup"])
        assert done.returncode == 0, done.stderr
    calls = (home / "uv-calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["venv", "pip", "pip"]
    log = cloud.folder / "desk/logs/prepare.worker-0.log"
    assert "is up to date" in log.read_text()
    # Half a job has no stamp, and is done again.
    (home / "kgrow-venv/.kgrow-requirements").unlink()
    done = cloud.on_all("true", options=["--setup"])
    assert done.returncode == 0, done.stderr
    assert len((home / "uv-calls").read_text().splitlines()) == 6


@pytest.mark.parametrize("statuses", [(0, 0), (0, 3), (7, 3), (1, 200)])
def test_the_worst_status_counts(statuses, ready):
    code = (
        "import os, sys; "
        f"sys.exit({list(statuses)}[int(os.environ['HOME'][-1])])"
    )
    done = ready.on_all("python", "-c", code, options=["--no-copy"])
    assert done.returncode == max(statuses)
    for number, status in enumerate(statuses):
        told = f"worker {number} ended with status {status}"
        assert (told in done.stderr) == (status > 0)
        log = ready.folder / f"desk/logs/run.worker-{number}.log"
        assert log.read_text() == f"worker finished with status {status}\n"


def test_a_lost_worker_is_255(ready):
    ready.workers(2, "run", "lost")
    done = ready.on_all("true", options=["--no-copy"])
    assert done.returncode == 255
    assert "worker 1 ended with status 255" in done.stderr


def _wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def _gone(pid):
    """Whether a process ended; what nobody waits for is left as a zombie."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return state.rpartition(")")[2].split()[0] == "Z"


# Worker 1 fails, and worker 0 waits for it as in a collective.
WAITING = """
import os, pathlib, sys, time
home = pathlib.Path(os.environ["HOME"])
if home.name == "worker-1" and "both" not in sys.argv:
    while not (home.parent / "worker-0/pid").exists():
        time.sleep(0.05)
    sys.exit(5)
(home / "pid.new").write_text(str(os.getpid()))
(home / "pid.new").rename(home / "pid")
time.sleep(300)
"""


def test_the_others_are_ended_when_one_fails(ready):
    quick = ["--no-copy", "--grace", "1"]
    done = ready.on_all("python", "-c", WAITING, options=quick)
    assert done.returncode == 5
    assert "worker 0 is ended, for another one failed" in done.stderr
    assert len(ready.calls("--stop")) == 1
    assert _gone((ready.folder / "worker-0/pid").read_text())


def test_who_cannot_be_ended_is_lost(ready):
    (ready.folder / "worker-0/unreachable").touch()
    quick = ["--no-copy", "--grace", "1"]
    done = ready.on_all("python", "-c", WAITING, options=quick)
    assert done.returncode == 255
    # Nobody else ends it.
    os.kill(int((ready.folder / "worker-0/pid").read_text()), signal.SIGKILL)


def _start(cloud, script, *arguments):
    return subprocess.Popen(
        [shutil.which("bash"), str(SCRIPTS / script), *arguments],
        env=cloud.environment(),
        cwd=cloud.folder / "desk",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_an_interruption_ends_the_workers(ready):
    files = [ready.folder / f"worker-{number}/pid" for number in range(2)]
    running = _start(
        *(ready, "run_all_workers.sh", "--no-copy", "--poll", "0.05"),
        *("--logs", "logs", "--", "python", "-c", WAITING, "both"),
    )
    _wait_for(lambda: all(file.exists() for file in files))
    running.send_signal(signal.SIGTERM)
    words, _ = running.communicate(timeout=60)
    assert running.returncode == 143, words
    assert all(_gone(file.read_text()) for file in files)


def test_a_new_run_ends_the_one_before(ready):
    """A TPU belongs to one process: what hangs there has to go first."""
    ready.workers(1)
    home = ready.folder / "worker-0"
    running = _start(
        *(ready, "run_all_workers.sh", "--no-copy", "--poll", "0.05"),
        *("--logs", "first", "--", "python", "-c", WAITING),
    )
    _wait_for((home / "pid").exists)
    pid = (home / "pid").read_text()
    done = ready.on_all("true", options=["--no-copy"])
    assert done.returncode == 0, done.stderr
    assert _gone(pid)
    running.communicate(timeout=60)
    assert running.returncode == 143


def test_a_broken_connection_finds_the_run_again(ready):
    ready.workers(1, "broken")
    home = ready.folder / "worker-0"
    code = (
        "import os, pathlib, time; home = pathlib.Path(os.environ['HOME'])\n"
        "group = home / 'kgrow-runs' / os.environ['KGROW_RUN'] / 'group'\n"
        "while not group.exists(): time.sleep(0.05)\n"
        "print(os.getpid(), file=open(home / 'pid', 'a'), flush=True)\n"
        "time.sleep(2); print('done'); raise SystemExit(6)"
    )
    done = ready.on_all("python", "-c", code, options=["--no-copy"])
    assert done.returncode == 6, done.stderr
    assert len((home / "pid").read_text().splitlines()) == 1
    log = (ready.folder / "desk/logs/run.worker-0.log").read_text()
    assert log.splitlines()[-2:] == ["done", "worker finished with status 6"]


def test_a_slice_that_takes_no_files_is_lost(cloud):
    cloud.says(scp="no")
    done = cloud.on_all("true")
    assert done.returncode == 255
    assert cloud.calls("tpu-vm ssh") == []


def test_the_number_of_workers_must_be_one(cloud):
    cloud.says(count="")
    done = cloud.on_all("true")
    assert done.returncode == 2
    assert "Received: nothing" in done.stderr
    assert "--workers" in done.stderr


# -- spot


def _kinds(cloud):
    """What was done, in order, without the questions."""
    kinds = []
    for words in cloud.calls():
        for word in ("create", "delete", "scp", "ssh"):
            if word in words:
                kinds.append(word)
    return kinds


def test_two_preemptions_and_the_run_goes_on(cloud):
    cloud.says(request="ABSENT")
    cloud.workers(1, "preempt\npreempt\nrun")
    bucket = cloud.folder / "bucket.json"
    done = cloud.resume("python", "-c", TOY, str(bucket), options=["--delete"])
    assert done.returncode == 0, done.stderr
    assert json.loads(bucket.read_text()) == [0, 1, 2]
    attempt = ["create", "scp", "ssh", "ssh"]
    assert _kinds(cloud) == [*attempt, "delete"] * 3
    assert done.stderr.count("preempted; the next one in") == 2
    # Word for word the same command each time, with a log of its own.
    commands = [words[-1] for words in cloud.calls("on_worker.sh")]
    numbers = [command.split()[3] for command in commands]
    assert len(set(numbers)) == 3
    pairs = zip(commands, numbers, strict=True)
    assert len({command.replace(number, "") for command, number in pairs}) == 1
    for number in range(3):
        log = cloud.folder / f"desk/logs/attempt-{number + 1}/run.worker-0.log"
        assert f"stage {number}\n" in log.read_text()


def test_a_failure_of_the_program_ends_it(cloud):
    done = cloud.resume("python", "-c", "raise SystemExit(9)")
    assert done.returncode == 9
    assert "it would fail again" in done.stderr
    assert "costs money until delete.sh" in done.stderr
    # The slice that was there was taken.
    assert "create" not in _kinds(cloud) and "delete" not in _kinds(cloud)
    assert len(cloud.calls("on_worker.sh")) == 2


def test_a_failure_for_a_preemption_does_not(cloud):
    """The program fails first; what became of the slice shows later."""
    cloud.workers(1, "run\nrun")
    cloud.says(vm="READY\nPREEMPTED")
    mark = cloud.folder / "second"
    code = (
        f"import pathlib, sys; m = pathlib.Path({str(mark)!r}); "
        "sys.exit(0 if m.exists() else m.touch() or 1)"
    )
    done = cloud.resume("python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert _kinds(cloud).count("create") == _kinds(cloud).count("delete") == 1


def test_a_broken_connection_is_no_preemption(cloud):
    cloud.workers(1, "lost\nrun")
    done = cloud.resume("true")
    assert done.returncode == 0, done.stderr
    assert "lost; the next one" in done.stderr
    assert "create" not in _kinds(cloud) and "delete" not in _kinds(cloud)


def test_retries_are_bounded(cloud):
    cloud.workers(1, "preempt")
    done = cloud.resume("true", options=["--retries", "2"])
    assert done.returncode == 75
    assert "2 retries are used up" in done.stderr
    assert len(cloud.calls("on_worker.sh")) == 3


def test_a_request_that_fails_is_made_again(cloud):
    cloud.says(request="FAILED")
    done = cloud.resume("true")
    assert done.returncode == 0, done.stderr
    assert _kinds(cloud)[:2] == ["delete", "create"]


def test_a_first_request_that_is_refused_ends_it(cloud):
    cloud.says(request="ABSENT", refused="")
    done = cloud.resume("true")
    assert done.returncode == 1
    assert _kinds(cloud) == ["create"]


# Does not wait where the wait is long.
SLEEP = """
#!/usr/bin/env bash
[[ $1 == 0.* ]] || exit 0
exec REAL "$1"
"""


def test_the_backoff_doubles_up_to_its_end(ready):
    _program(
        ready.folder / "bin/sleep", SLEEP.replace("REAL", shutil.which("sleep"))
    )
    ready.workers(1, "lost")
    done = ready.resume(
        *("true",),
        options=[
            "--backoff",
            "60",
            "--retries",
            "5",
            "--longest-backoff",
            "300",
        ],
    )
    assert done.returncode == 75
    waits = re.findall(r"the next one in (\d+) s", done.stderr)
    assert waits == ["60", "120", "240", "300", "300"]


def test_a_long_run_makes_the_backoff_start_over(ready):
    _program(
        ready.folder / "bin/sleep", SLEEP.replace("REAL", shutil.which("sleep"))
    )
    ready.workers(1, "lost")
    done = ready.resume(
        *("true",),
        options=["--backoff", "60", "--retries", "2", "--healthy", "0"],
    )
    assert done.returncode == 75
    waits = re.findall(r"the next one in (\d+) s", done.stderr)
    assert waits == ["60", "60"]


def test_an_interruption_ends_everything(ready):
    ready.workers(1)
    file = ready.folder / "worker-0/pid"
    running = _start(
        *(ready, "resume_spot.sh", "--poll", "0.05", "--logs", "logs"),
        *("--", "python", "-c", WAITING, "gs://b"),
    )
    _wait_for(file.exists)
    running.send_signal(signal.SIGTERM)
    words, _ = running.communicate(timeout=60)
    assert running.returncode == 143, words
    assert "interrupted" in words
    assert _gone(file.read_text())


# -- the examples


def test_xpk_gets_the_project_and_nothing_else(cloud):
    _program(cloud.folder / "bin/xpk", '#!/bin/bash\nprintf "%s\\0" "$@"')
    done = cloud.run("xpk_workload.sh", "--stage", "s", "--", *TRAIN)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split("\0")[:-1]
    assert words == DRY["xpk_workload"][1][-1][1:3] + [
        *("--cluster=c", "--workload=kgrow", *PLACE, "--tpu-type=v6e-16"),
        *("--num-slices=1", "--max-restarts=50"),
        *("--base-docker-image=python:3.12", "--script-dir=s/project"),
        DRY["xpk_workload"][1][-1][-1],
    ]
    project = cloud.folder / "desk/s/project"
    assert {p.name for p in project.iterdir()} == {
        *("kgrow", "tpu_scripts", "pyproject.toml")
    }
    assert not list(project.rglob("__pycache__"))
    assert (project / "tpu_scripts/lib/on_worker.sh").stat().st_mode & 0o100


def _kinetic_train():
    path = SCRIPTS / "kinetic_train.py"
    spec = importlib.util.spec_from_file_location("kinetic_train", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Kinetic:
    """Runs a job at once, here, as Kinetic would on the machine."""

    Data = staticmethod(lambda path: path)

    def __init__(self, monkeypatch):
        self.given = None
        self.environment = monkeypatch

    def run(self, **given):
        self.given = given

        def decorate(function):
            def job(*arguments):
                output = given["output_dir"]
                self.environment.setenv("KINETIC_OUTPUT_DIR", output)
                function(*arguments)
                return collections.namedtuple("Job", "job_id")("job-1")

            job.run_async = job
            return job

        return decorate


def test_kinetic_runs_the_program(monkeypatch, tmp_path, capsys):
    module = _kinetic_train()
    (tmp_path / "kgrow").mkdir()
    (tmp_path / "tpu_scripts/logs").mkdir(parents=True)
    (tmp_path / "tpu_scripts/env.sh").touch()
    out = tmp_path / "out.json"
    (tmp_path / "tpu_scripts/toy.py").write_text(
        "import json, os, pathlib, sys\n"
        f"pathlib.Path({str(out)!r}).write_text(json.dumps([sys.argv[1:], "
        "os.environ['PYTHONPATH'] == os.getcwd(), "
        "os.environ['KERAS_BACKEND'], sorted(os.listdir('tpu_scripts'))]))\n"
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    kinetic = Kinetic(monkeypatch)
    monkeypatch.setitem(sys.modules, "kinetic", kinetic)
    call = ["--output", "gs://b/run", "--spot", "toy.py", "--x", "a b"]
    module.main(call)
    words, *rest = json.loads(out.read_text())
    assert words == [
        *("--x", "a b", "--checkpoints", "gs://b/run/checkpoints"),
        *("--logs", "gs://b/run/logs"),
    ]
    assert rest == [True, "jax", ["toy.py"]]
    assert kinetic.given == {
        "accelerator": "tpu-v5litepod-8",
        "spot": True,
        "output_dir": "gs://b/run",
    }
    assert capsys.readouterr().out.splitlines()[-1] == "job-1"
    # A failure there is one here.
    (tmp_path / "tpu_scripts/toy.py").write_text("raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError):
        module.main(["--wait", *call])


def test_kinetic_examples():
    assert doctest.testmod(_kinetic_train()) == (0, 1)


def test_kinetic_dry_run(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kinetic", None)
    module = _kinetic_train()
    module.main(
        ["--output", "gs://b", "--dry-run", "kinetic_train.py"]
        + ["--logs=l", "--x", "a b"]
    )
    assert capsys.readouterr().out.splitlines() == [
        "tpu-v5litepod-8:",
        "python tpu_scripts/kinetic_train.py --logs=l --x 'a b' "
        "--checkpoints '{output}/checkpoints'",
        "with {output} = gs://b",
    ]


@pytest.mark.parametrize(
    "call, message",
    [
        ("--output here kinetic_train.py", "Received: --output=here"),
        ("--output gs://b no.py", "Received: no.py"),
        ("--output gs://b kinetic_train.py", "Kinetic is not installed"),
    ],
)
def test_kinetic_errors(call, message, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kinetic", None)
    with pytest.raises(SystemExit) as stopped:
        _kinetic_train().main(call.split())
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


# -- the README


def _blocks():
    """The commands of the README: lists of words."""
    text = (SCRIPTS / "README.md").read_text()
    for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.S):
        for line in block.splitlines():
            line = line.replace("$GS_BUCKET", "gs://b").lstrip("!")
            yield shlex.split(line, comments=True)


def test_the_commands_of_the_readme_run(cloud):
    lines = [words for words in _blocks() if words[0].endswith(".sh")]
    called = {words[0].removeprefix("tpu_scripts/") for words in lines}
    # `setup_vm.sh` is what `--setup` calls.
    assert called == set(COMMANDS) - {"setup_vm.sh"}
    for words in lines:
        script = words[0].removeprefix("tpu_scripts/")
        done = cloud.run(script, *words[1:], DRY_RUN="yes", gcloud=False)
        assert done.returncode == 0, done.stderr


def test_the_programs_of_the_readme_know_their_flags():
    """And so do those in the docstrings and in the list of first checks."""
    sources = "".join(path.read_text() for path in SCRIPTS.rglob("*.py"))
    known = set(re.findall(r'"(--[a-z-]+)"', sources))
    seen = 0
    for words in _blocks():
        programs = [w for w in words if w.startswith("tpu_scripts/")]
        for word in programs:
            assert (ROOT / word).exists() or word == "tpu_scripts/env.sh"
        starts = [n for n, w in enumerate(words) if w.endswith(".py")]
        if starts:
            flags = {w for w in words[starts[0] :] if w.startswith("--")}
            assert flags <= known, flags - known
            seen += 1
    assert seen >= 8


def test_the_readme_names_every_file():
    text = (SCRIPTS / "README.md").read_text()
    for path in [*SCRIPTS.glob("*.sh"), *SCRIPTS.glob("*.py")]:
        assert f"`{path.name}`" in text, path.name
    for name in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (SCRIPTS / name).exists(), name
