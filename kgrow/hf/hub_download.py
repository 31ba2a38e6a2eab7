"""`hf://owner/name`: a folder that `huggingface_hub` downloads."""

import pathlib

from kgrow.algebra.errors import FileError, GrowthError

PREFIX = "hf://"
# Weights in one format, and what small files there are.
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.md", "*.jinja"]


def local_folder(folder):
    """The path of a folder; one on the hub is downloaded into its cache.

    Args:
        folder: path, `"hf://owner/name"` or `"hf://owner/name@revision"`.

    Raises:
        GrowthError: the name is none of a repository.
        FileError: it cannot be downloaded.
        ImportError: `huggingface_hub` is not installed.

    Example:

    >>> local_folder("small").name
    'small'
    """
    said = str(folder)
    # `pathlib` makes one slash of two.
    for prefix in (PREFIX, "hf:/"):
        if said.startswith(prefix):
            return _download(said.removeprefix(prefix))
    return pathlib.Path(folder)


def _download(name):
    repository, _, revision = name.partition("@")
    if len(repository.split("/")) != 2 or not all(repository.split("/")):
        raise GrowthError(
            "A repository is named hf://owner/name or "
            f"hf://owner/name@revision. Received: {PREFIX}{name}"
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "hf:// names are downloaded by huggingface_hub. Install it "
            "with: pip install huggingface_hub"
        ) from error
    try:
        path = huggingface_hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=_WANTED
        )
    except Exception as error:
        raise FileError(
            f"{PREFIX}{name} cannot be downloaded: {error}"
        ) from error
    return pathlib.Path(path)
