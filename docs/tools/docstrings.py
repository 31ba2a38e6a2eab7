"""Docstrings as Markdown wants them.

They are written for `help()`: an example stands unindented under `Example:`,
which Markdown would take for nested quotations.
"""

import re
import textwrap

import griffe

_LABEL = re.compile(r"^(Example|Reference|Deviates):", re.MULTILINE)
_SECTION = re.compile(
    r"^(Input shape|Output shape|Call arguments|Returns|Yields):\n"
    r"((?:[ ]+\S.*(?:\n|\Z)|\n)+)",
    re.MULTILINE,
)
_ENTRY = re.compile(r"^(\*{0,2}\w[\w, *]*): ", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites every docstring, before its sections are parsed."""

    def on_instance(self, *, obj, **kwargs):
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text):
    """A docstring with its examples fenced and its labels bold."""
    text = _SECTION.sub(_section, text)
    text = _LABEL.sub(r"**\1:**", text)
    lines, inside = [], False
    for line in text.splitlines():
        if inside and not line.strip():
            inside = False
            lines.append("```")
        elif not inside and line.startswith(">>> "):
            inside = True
            lines.append("```pycon")
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


def _section(match):
    """A section that has no table: its text as it stands, or its arguments
    as a list."""
    label, body = match[1], textwrap.dedent(match[2]).strip("\n")
    if label == "Call arguments":
        body = _ENTRY.sub(r"- **`\1`** – ", body)
    return f"**{label}:**\n\n{body}\n\n"
