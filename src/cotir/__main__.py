"""``python -m cotir`` is the command line."""

from cotir.interfaces.cli import main

if __name__ == "__main__":
    main()
