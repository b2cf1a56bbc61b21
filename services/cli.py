"""The command line's door: says in one line what is missing, where something is."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from services.commands import run

        run()
    except ImportError as error:  # commands import what they need when they run
        sys.exit(f"constellation: {error}: run `make setup`")
    except KeyboardInterrupt:  # before there was anything to stop
        sys.exit(130)


if __name__ == "__main__":
    main()
