"""`python -m tests.readers --publishes 200 --seed 7`: one run; exit code 0 if nothing is wrong."""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.readers.run import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.readers", description=__doc__)
    parser.add_argument("--publishes", type=int, default=200)
    parser.add_argument("--packages", type=int, default=100, help="that are there at first")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args = parser.parse_args()
    dnf = shutil.which("dnf")
    with tempfile.TemporaryDirectory(prefix="copr-readers-", dir="/var/tmp") as top:
        outcome = run(
            Path(top), publishes=args.publishes, packages=args.packages, seed=args.seed, dnf=dnf
        )
    print(f"readers: seed {args.seed}: {dict(outcome.deeds)}" + ("" if dnf else ", without dnf"))
    for line in outcome.violations[:20]:
        print(f"  WRONG: {line}")
    print("readers: " + ("FAILED" if outcome.violations else "every state that was read was whole"))
    sys.exit(bool(outcome.violations))
