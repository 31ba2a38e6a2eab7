"""`python -m kgrow_cli` is the command `kgrow`."""

from kgrow_cli.app import main

if __name__ == "__main__":
    main()
