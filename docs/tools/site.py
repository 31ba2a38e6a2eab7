"""What the site has beyond the files in this folder.

Pages link to files of the repository (`../benchmarks/results/x.png`), which a
code host finds and a site has not: these are copied into it. The changelog
becomes a page, and so do the commands' own help texts.
"""

import pathlib
import re

from mkdocs.structure.files import File

_ROOT = pathlib.Path(__file__).parents[2]
_OUTSIDE = re.compile(r"\]\(((?:\.\./)+)([^)#\s]+)((?:#[^)\s]*)?)\)")
_COMMANDS = "<!-- commands -->"
_PLACE = "repository"


def on_files(files, config):
    """Adds the changelog, and what pages link to outside of this folder."""
    files.append(
        File.generated(
            config, "changelog.md", abs_src_path=str(_ROOT / "CHANGELOG.md")
        )
    )
    wanted = set()
    for page in files.documentation_pages():
        wanted |= {path for path, _ in _outside(page)}
    for path in sorted(wanted):
        files.append(
            File.generated(
                config,
                f"{_PLACE}/{path}",
                abs_src_path=str(_ROOT / path),
            )
        )
    return files


def on_page_markdown(markdown, page, config, files):
    """Points links at the copies, and writes the commands' help."""
    del config, files
    up = "../" * page.file.src_uri.count("/")
    for path, link in _outside(page.file):
        markdown = markdown.replace(f"]({link}", f"]({up}{_PLACE}/{path}")
    if _COMMANDS in markdown:
        markdown = markdown.replace(_COMMANDS, _help())
    return markdown


def _outside(file):
    """`(path in the repository, link)` of all links that leave this folder."""
    depth = file.src_uri.count("/")
    return [
        (path, up + path)
        for up, path, _ in _OUTSIDE.findall(file.content_string)
        if up.count("../") > depth
        and (_ROOT / path).is_file()
        and not path.startswith("notebooks/")  # have pages
    ]


def _help():
    """The commands, their arguments and options, as Markdown."""
    import typer
    from typer.cli import get_docs_for_click

    from kgrow_cli.app import app

    command = typer.main.get_command(app)
    context = typer.Context(command)
    text = get_docs_for_click(obj=command, ctx=context, name="kgrow")
    text = text.partition("\n")[2]  # its first heading
    for name in command.list_commands(context):
        # The list of commands cuts what they say short.
        said = command.get_command(context, name).help.splitlines()[0]
        text = re.sub(rf"^(\* `{name}`: ).*$", rf"\1{said}", text, flags=re.M)
    text = re.sub(r"\[bold\](.*?)\[/\]", r"**\1**", text)
    return re.sub(r"^(kgrow .*(?:\n--.*)*)$", _code, text, flags=re.M)


def _code(match):
    return f"```console\n$ {match[1].replace(chr(10), ' ')}\n```"
