"""``python -m fastcap``: the command line."""

from fastcap.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
