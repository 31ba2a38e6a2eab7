"""Example: a program of this folder on a TPU, through Kinetic.

Kinetic makes the container, the job and the machine on a GKE cluster that
`kinetic up` has made, and gives the machine back when the job ends:

    pip install 'keras-kinetic[cli]'
    kinetic up
    kinetic pool add --accelerator tpu-v5litepod-8
    python tpu_scripts/kinetic_train.py --output gs://my-bucket/kgrow/gpt2 \\
        train_gpt2.py --config tpu_scripts/configs/msg_gpt2.toml

The program gets `--checkpoints` and `--logs` below the output, unless it has
its own. The same line again goes on from the last checkpoint. Without `--wait`
the job runs on its own; `kinetic jobs logs ID --follow` shows it.

Written for keras-kinetic 0.0.4 and slices of one host, as tpu-v5litepod-8 and
tpu-v6e-8. Larger ones go through Pathways, which nobody has tried with this.
"""

import argparse
import contextlib
import importlib
import pathlib
import shlex
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What goes to the machine: the library and these scripts, nothing else.
PARTS = ("kgrow", "tpu_scripts")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "env.sh", "logs")


def train(project, command):
    """Runs on the machine.

    Args:
        project: string, the folder with the project.
        command: list of strings, program and flags. `{output}` stands for
            `KINETIC_OUTPUT_DIR`.

    Raises:
        subprocess.CalledProcessError: the program failed; Kinetic raises it
            again on the caller's side.
    """
    import os
    import subprocess
    import sys

    output = os.environ["KINETIC_OUTPUT_DIR"]
    # A process of its own: nothing has asked JAX for its devices there.
    subprocess.run(
        [sys.executable, *(c.replace("{output}", output) for c in command)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": project, "KERAS_BACKEND": "jax"},
        check=True,
    )


def parser():
    """The flags of this script; the program and its own follow them."""
    made = argparse.ArgumentParser(
        prog="kinetic_train.py",
        description=__doc__.split("\n\n")[0],
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--output", required=True, help="gs:// folder of this run")
    add("--accelerator", default="tpu-v5litepod-8")
    add("--spot", action="store_true", help="on a pool made with --spot")
    add("--wait", action="store_true", help="show the logs, wait for the end")
    add("--dry-run", action="store_true", help="print the job, submit nothing")
    add("program", help="a program of this folder, as train_gpt2.py")
    add("flags", nargs=argparse.REMAINDER, help="the program's")
    return made


def command_of(program, flags):
    """The command on the machine, with folders for what it does not name.

    Args:
        program: string, a file of this folder.
        flags: list of strings.

    Returns:
        List of strings, for `train`.

    Example:

    >>> command_of("train_gpt2.py", ["--logs", "here"])
    ['tpu_scripts/train_gpt2.py', '--logs', 'here', '--checkpoints', \
'{output}/checkpoints']
    """
    command = [f"tpu_scripts/{program}", *flags]
    for name in ("checkpoints", "logs"):
        flag = f"--{name}"
        if not any(f == flag or f.startswith(f"{flag}=") for f in flags):
            command += [flag, f"{{output}}/{name}"]
    return command


@contextlib.contextmanager
def staged():
    """A temporary folder with the project as it is now."""
    with tempfile.TemporaryDirectory(prefix="kgrow-") as folder:
        for part in PARTS:
            shutil.copytree(
                ROOT / part, pathlib.Path(folder) / part, ignore=LEFT_OUT
            )
        yield folder


def main(arguments=None):
    """Submits the job, and prints its number."""
    made = parser()
    options = made.parse_args(arguments)
    if not options.output.startswith("gs://"):
        made.error(
            "--output must be a folder in a bucket, as gs://my-bucket/kgrow. "
            f"Received: --output={options.output}"
        )
    if not (ROOT / "tpu_scripts" / options.program).is_file():
        made.error(
            "expected a program of tpu_scripts, as train_gpt2.py. "
            f"Received: {options.program}"
        )
    command = command_of(options.program, options.flags)
    print(f"{options.accelerator}{', spot' if options.spot else ''}:")
    print(shlex.join(["python", *command]))
    print(f"with {{output}} = {options.output}")
    if options.dry_run:
        return
    try:
        kinetic = importlib.import_module("kinetic")
    except ImportError:
        made.exit(
            2,
            "kinetic_train.py: Kinetic is not installed. Run "
            "`pip install 'keras-kinetic[cli]'`, or add --dry-run.\n",
        )
    job = kinetic.run(
        accelerator=options.accelerator,
        spot=options.spot,
        output_dir=options.output,
    )(train)
    with staged() as project:
        if options.wait:
            job(kinetic.Data(project), command)
        else:
            print(job.run_async(kinetic.Data(project), command).job_id)


if __name__ == "__main__":
    sys.exit(main())
