"""The files of a release agree."""

import pathlib
import re
import tomllib

import pytest

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.parametrize("field", ["version", "license"])
def test_citation_and_project_agree(field):
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(rf"^{field}: (\S+)$", text, re.M) == [PROJECT[field]]


def test_the_changelog_has_the_version():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{PROJECT['version']}]" in text
