"""The command `kgrow`: its words, options and errors, without Keras.

A package of its own beside the library, because importing `kgrow` imports
Keras: `kgrow --help` answers at once, and `--backend` can still choose. What
the commands do is in `kgrow_cli.commands`, which is imported when one of them
runs.
"""
