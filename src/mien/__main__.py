"""``python -m mien``: the command line without an installed script."""

from mien.cli import main

if __name__ == "__main__":
    main()
