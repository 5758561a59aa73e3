"""`copr_be.py`: the program. Next to nothing is imported before `main` minds a Ctrl-C."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # of typing, which takes a while
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run `copr_be.py`; every expected problem is one line on stderr and an exit code."""
    try:
        os.environ.setdefault("SPT_NOENV", "1")
        from backend.loading import Loading  # noqa: PLC0415

        with Loading():
            from backend.dispatch import perform  # noqa: PLC0415
        return perform(argv)
    except KeyboardInterrupt:
        return 130  # Exit.INTERRUPTED, which may not be there yet


if __name__ == "__main__":
    sys.exit(main())
