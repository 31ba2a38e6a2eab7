"""`docs/own_strategy.md` runs as it is printed."""

import pathlib
import re
import sys

import pytest

from kgrow.strategies import registry
from kgrow_cli import app

pytestmark = pytest.mark.once

PAGE = pathlib.Path(app.__file__).parents[1] / "docs" / "own_strategy.md"


def test_the_page_runs_in_order(tmp_path, monkeypatch, capsys):
    module, *snippets = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(), re.S
    )
    (tmp_path / "reflect.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        names = {}
        for snippet in snippets:
            exec(snippet, names)
        assert names["receipt"].strategy.startswith("Reflect")
        printed = capsys.readouterr().out
        assert "reflect" in printed and "exact" in printed
    finally:
        if "reflect" in registry.names():
            registry.forget("reflect")
        sys.modules.pop("reflect", None)
