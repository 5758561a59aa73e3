"""`python -m tests.upkeep --builds 200 --seed 7`: one run; exit code 0 when nothing is wrong."""

import argparse
import random
import sys

from tests.upkeep.run import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.upkeep", description=__doc__)
    parser.add_argument("--builds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args = parser.parse_args()
    outcome = run(builds=args.builds, seed=args.seed)
    print(f"upkeep: seed {args.seed}: {dict(outcome.deeds)}")
    for line in outcome.violations:
        print(f"  WRONG: {line}")
    print("upkeep: " + ("FAILED" if outcome.violations else "nothing lost, nothing left"))
    sys.exit(bool(outcome.violations))
