"""`python -m tests.chaos --builds 1000 --seed 7`: one run; exit code 0 when nothing is wrong."""

import argparse
import random
import signal
import sys

from tests.chaos.run import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--builds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--mode", choices=("embedded", "proxy", "external"), help="else by seed")
    parser.add_argument("--fury", type=float, default=1.0, help="scales how often it strikes")
    parser.add_argument("--sign", action="store_true", help="sign packages and metadata")
    parser.add_argument("--keep", action="store_true", help="leave the directory")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the timeline live")
    args = parser.parse_args()
    # Ended from outside, it still takes everything with it that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    outcome = run(
        builds=args.builds, seed=args.seed, mode=args.mode, fury=args.fury, keep=args.keep,
        live=args.verbose, sign=args.sign,
    )  # fmt: skip
    sys.exit(0 if outcome.passed else 1)
