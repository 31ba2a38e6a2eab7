"""The files of a release agree, and its archives are checked."""

import datetime
import importlib.util
import pathlib
import re
import tomllib

import pytest
import yaml

import kgrow

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
HEADS = re.findall(
    r"^## \[(.+?)\](?: - (.+))?$",
    (ROOT / "CHANGELOG.md").read_text("utf-8"),
    re.M,
)


@pytest.mark.parametrize("field", ["version", "license"])
def test_citation_and_project_agree(field):
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(rf"^{field}: (\S+)$", text, re.M) == [PROJECT[field]]


def test_the_package_and_the_changelog_have_the_version():
    assert kgrow.__version__ == PROJECT["version"]
    (head, _), (version, date), *_ = HEADS
    assert (head, version) == ("Unreleased", PROJECT["version"])
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^date-released: (\S+)$", text, re.M) == [date]
    datetime.date.fromisoformat(date)


def test_a_section_has_each_head_once():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for section in text.split("\n## [")[1:]:
        kinds = re.findall(r"^### (.+)$", section, re.M)
        assert len(kinds) == len(set(kinds)), section.partition("]")[0]


# --- the workflow ------------------------------------------------------------


@pytest.fixture(scope="module")
def jobs():
    path = ROOT / ".github" / "workflows" / "release.yml"
    return yaml.safe_load(path.read_text("utf-8"))["jobs"]


def test_it_installs_on_the_oldest_and_the_newest_python(jobs):
    named = [
        found[1]
        for text in PROJECT["classifiers"]
        if (found := re.fullmatch(r".* Python :: (3\.\d+)", text))
    ]
    named.sort(key=lambda text: int(text.partition(".")[2]))
    assert PROJECT["requires-python"] == f">={named[0]}"
    matrix = jobs["install"]["strategy"]["matrix"]
    assert matrix["python"] == [named[0], named[-1]]
    extras = PROJECT["optional-dependencies"]
    assert set(matrix["backend"]) == {"jax", "tensorflow", "torch"} & set(
        extras
    )


def test_nothing_is_published_that_was_not_installed(jobs):
    assert jobs["publish"]["needs"] == "install"
    assert jobs["install"]["needs"] == "build"
    # Only the last job may ask for a token.
    asking = [n for n, job in jobs.items() if "permissions" in job]
    assert asking == ["publish"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


# --- the check of the archives -----------------------------------------------


@pytest.fixture(scope="module")
def compare():
    path = ROOT / ".ci" / "check_release.py"
    spec = importlib.util.spec_from_file_location("check_release", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.compare


def test_an_archive_with_the_tracked_files_passes(compare, capsys):
    compare("kgrow.whl", {"a.py", "b.toml"}, {"b.toml", "a.py"})
    assert capsys.readouterr().out == "kgrow.whl: 2 files\n"


@pytest.mark.parametrize(
    "found, said",
    [
        ({"a.py"}, "missing ['b.toml'], not tracked by git []"),
        (
            {"a.py", "b.toml", "a.pyc"},
            "missing [], not tracked by git ['a.pyc']",
        ),
    ],
)
def test_an_archive_with_other_files_ends_the_check(compare, found, said):
    with pytest.raises(SystemExit, match=re.escape(said)):
        compare("kgrow.whl", found, {"a.py", "b.toml"})
