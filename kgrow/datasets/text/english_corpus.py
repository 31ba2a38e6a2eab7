"""75 MB of English prose from three Debian packages.

A dictionary (Webster 1913 and additions), the documentation of Python and that
of the Linux kernel. They are read from where the packages put them:

    apt-get install dict-gcide linux-doc-6.1 python3.11-doc

A page of documentation is one document. The dictionary is one file, which is
cut between entries into documents of about 16 KiB.
"""

import gzip
import pathlib
from dataclasses import dataclass

from kgrow.algebra.errors import GrowthError

_ROOT = pathlib.Path("/usr/share")
_BLOCK = 2**14  # bytes of the dictionary in a document, at least


@dataclass(frozen=True)
class Package:
    """A Debian package, and which of its files hold text.

    Args:
        name: String, as `apt-get install` takes it.
        folder: String, the folder of the text below `/usr/share`.
        pattern: String, a pattern of file names, those in subfolders included.
        licence: String.
        is_one_file: Boolean, whether the text is cut into documents.
    """

    name: str
    folder: str
    pattern: str
    licence: str
    is_one_file: bool = False


# The dictionary comes last: subwords are learned from the first 64 MiB, which
# so hold all three styles.
PACKAGES = (
    Package(
        "python3.11-doc",
        "doc/python3.11/html/_sources",
        "*.rst.txt",
        "PSF-2.0",
    ),
    Package(
        "linux-doc-6.1",
        "doc/linux-doc-6.1/Documentation",
        "*.rst.gz",
        "GPL-2.0",
    ),
    Package(
        "dict-gcide", "dictd", "gcide.dict.dz", "GPL-3.0", is_one_file=True
    ),
)


def documents(root=_ROOT):
    """The documents of all packages, in a fixed order.

    Args:
        root: Path. Where packages put what does not depend on the machine.

    Returns:
        List of bytes.

    Raises:
        GrowthError: a package is not installed.
    """
    files = {package: _files(package, root) for package in PACKAGES}
    missing = sorted(package.name for package in PACKAGES if not files[package])
    if missing:
        raise GrowthError(
            f"The text 'english' is read from the Debian packages "
            f"{', '.join(sorted(p.name for p in PACKAGES))}, as they are "
            f"installed. Install what is missing with: "
            f"apt-get install {' '.join(missing)}"
        )
    found = []
    for package, paths in files.items():
        for path in paths:
            content = _read(path)
            cut = _blocks if package.is_one_file else _whole
            found.extend(cut(content))
    return found


def _files(package, root):
    folder = pathlib.Path(root) / package.folder
    return sorted(
        (path for path in folder.rglob(package.pattern) if path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )


def _read(path):
    content = path.read_bytes()
    # `.dz` is gzip with an index in the header, which gzip skips.
    return gzip.decompress(content) if path.suffix != ".txt" else content


def _whole(content):
    return [content]


def _blocks(content):
    """Runs of whole entries; with an empty line between two."""
    start, found = 0, []
    while start < len(content):
        end = content.find(b"\n\n", start + _BLOCK)
        end = len(content) if end < 0 else end + 2
        found.append(content[start:end])
        start = end
    return found
