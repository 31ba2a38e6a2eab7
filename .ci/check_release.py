"""Checks the archives of a release: their contents, and that they run.

    python .ci/check_release.py FOLDER [--borrow ENVIRONMENT] BACKEND ...

The wheel must hold the files of both packages that git tracks, the source
archive those of the whole repository, and neither may hold another. Then the
wheel is installed in a fresh environment per backend, and the source archive in
one, and `installed.py` runs there. `--borrow` takes the dependencies from an
existing environment, in place of installing them.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
VERSION = PROJECT["project"]["version"]
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("backends", nargs="*")
    parser.add_argument("--borrow", type=pathlib.Path)
    options = parser.parse_intermixed_args()
    wheel = options.folder / f"kgrow-{VERSION}-py3-none-any.whl"
    source = options.folder / f"kgrow-{VERSION}.tar.gz"
    check_wheel(wheel)
    check_source(source)
    for number, backend in enumerate(options.backends):
        for archive in (wheel, source) if number == 0 else (wheel,):
            try_out(archive.resolve(), backend, options.borrow)


def check_wheel(path):
    with zipfile.ZipFile(path) as archive:
        found = {n for n in archive.namelist() if ".dist-info/" not in n}
    compare(path.name, found, tracked(*PACKAGES))


def check_source(path):
    with tarfile.open(path) as archive:
        names = [m.name for m in archive.getmembers() if not m.isdir()]
    found = {name.partition("/")[2] for name in names} - {"PKG-INFO"}
    compare(path.name, found, tracked())


def tracked(*folders):
    """Names of the files that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *folders],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return set(listed.stdout.split("\0")) - {""}


def compare(name, found, wanted):
    """Ends the program where an archive has other files than it should."""
    missing, more = sorted(wanted - found), sorted(found - wanted)
    if missing or more:
        sys.exit(f"{name}: missing {missing}, not tracked by git {more}")
    print(f"{name}: {len(found)} files")


def try_out(archive, backend, borrow):
    """Installs an archive in a fresh environment and runs a program there."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        python = environment(folder / "environment", borrow)
        wanted = [str(archive), "--no-deps"]
        if borrow is None:
            wanted = [f"kgrow[{backend}] @ {archive.as_uri()}"]
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--quiet", *wanted], check=True)
        empty = folder / "empty"
        empty.mkdir()
        subprocess.run(
            [python, str(HERE / "installed.py"), VERSION],
            cwd=empty,
            env=plain_environment(backend),
            check=True,
        )
    print(f"{archive.name}: runs on {backend}")


def environment(folder, borrow):
    """A fresh environment; the path of its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if borrow is not None:
        # One line is one entry at the end of the path: what is installed here
        # comes first, and the `.pth` files over there are not read.
        (theirs,) = borrow.resolve().glob("lib/python3.*/site-packages")
        (ours,) = folder.glob("lib/python3.*/site-packages")
        (ours / "borrowed.pth").write_text(f"{theirs}\n", "utf-8")
    return str(folder / "bin" / "python")


def plain_environment(backend):
    """Environment variables without a path to the checkout."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return {**kept, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}


if __name__ == "__main__":
    main()
