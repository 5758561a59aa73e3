"""`python -m tests.hostchaos --builds 100 --seed 7`: one run; exit code 0 when nothing is wrong.

Needs root, iproute2, OpenSSH, and what builds need. See docs/hosts.md.
"""

import argparse
import os
import random
import signal
import sys
import time

from tests.hostchaos.run import Run, place

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.hostchaos", description=__doc__)
    parser.add_argument("--builds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--fury", type=float, default=1.0, help="scales how often it strikes")
    parser.add_argument("--keep", action="store_true", help="leave the directory")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("network namespaces need root")
    # Ended from outside, it still takes everything with it that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    begin = time.monotonic()
    print(f"hostchaos: seed {args.seed}, {args.builds} builds", flush=True)
    with place(args.keep) as (farm, hosts):
        run = Run(farm, hosts, args.builds, args.seed)
        wrong = run.go(args.fury)
        if wrong:
            print("\n".join(run.killer.timeline))
    print(f"deeds: {dict(run.killer.counts.most_common())}")
    looks, most = run.watcher.looks, dict(sorted(run.watcher.most.items()))
    print(f"{looks} looks; builds at once on a host, and how often seen: {most}")
    for line in wrong:
        print(f"  WRONG: {line}")
    print(f"hostchaos: {'FAILED' if wrong else 'all is right'}, {time.monotonic() - begin:.0f} s")
    sys.exit(bool(wrong))
