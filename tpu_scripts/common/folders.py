"""Whether a folder, or a bucket, can be written to."""

import uuid

from keras.src.utils import file_utils

from kgrow.algebra.errors import GrowthError


def check_writable(folder):
    """Writes a small file, reads it, and deletes it.

    Args:
        folder: string, a local one or `gs://...`. A local one is made.

    Raises:
        GrowthError: one of the three failed.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_writable(folder)
    """
    path = file_utils.join(folder, f".preflight-{uuid.uuid4().hex}")
    text = uuid.uuid4().hex
    try:
        if not file_utils.exists(folder):
            file_utils.makedirs(folder)
        with file_utils.File(path, "w") as file:
            file.write(text)
        with file_utils.File(path, "r") as file:
            found = file.read()
        file_utils.remove(path)
    except Exception as error:
        raise GrowthError(
            f"The folder cannot be written to, read and cleaned up: {error}. "
            f"Received: {folder!r}"
        ) from error
    if found != text:
        raise GrowthError(
            f"What was written is not what was read. Received: {folder!r}"
        )
