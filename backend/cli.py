"""`copr_be.py`: the program."""

import os
import sys
from collections.abc import Sequence

from backend.arguments import parser
from backend.constants import Exit
from backend.dispatch import COMMANDS, complain
from backend.exceptions import ConfigError, CoprBackendError


def main(argv: Sequence[str] | None = None) -> int:
    """Run `copr_be.py`; every expected problem is one line on stderr and an exit code."""
    os.environ.setdefault("SPT_NOENV", "1")
    try:
        args = parser().parse_args(argv)
        return int(COMMANDS[args.command](args))
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        return Exit.USAGE
    except CoprBackendError as error:
        complain(str(error))
        return int(error.exit_code)
    except BrokenPipeError:  # `copr_be.py status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
