"""``python -m braincli``."""

from braincli.cli import main

if __name__ == "__main__":
    main()
