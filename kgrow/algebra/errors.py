"""The exceptions that growing raises."""


class GrowthError(ValueError):
    """A growth that cannot be done, and what to do about it.

    Raised before anything is changed, or after everything was put back: a
    model that raised `GrowthError` trains on as if `grow()` had never been
    called. The message says what was expected, what was received and the way
    out.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=4, hidden_dim=8, num_layers=1,
    ...     intermediate_dim=16, output_dim=2)
    >>> try:
    ...     model.grow({"hidden_dim": 4})
    ... except kgrow.GrowthError as error:
    ...     print(str(error).split(".")[0])
    `hidden_dim` cannot shrink: 8 -> 4
    """


class FileError(GrowthError, OSError):
    """A file that a model cannot be read from, or saved to.

    It is an `OSError` too, as for a file that ends in the middle, so that
    `keras.callbacks.BackupAndRestore(double_checkpoint=True)` goes back to the
    file before.

    Example:

    >>> isinstance(FileError("cut off"), OSError)
    True
    """
