"""`make bench`: measures, prints a table, writes JSON and a plot.

python -m tests.bench [--parts a,b,c,d,e,f,g] [--out DIR] [--small]
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend import __version__
from backend.redis_server import BLOCK_SECONDS
from tests.bench import packages, pages, plan, plot, publish, report, size, speed

PARTS = {
    "a": "latency and tasks per second, beside other task queues",
    "b": "memory of idle workers, time to start",
    "c": "CPU of the idle daemon",
    "d": "scheduler with a huge backlog",
    "e": "farm of real packages against xargs -P",
    "f": "publishing into large repositories against createrepo_c --update",
    "g": "pages and lists of a large farm, a live log followed by many",
}


def _measure(
    parts: set[str], on: speed.Ground, small: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Part → its figures; b and c share the daemons that they start, and stand under b."""
    found: dict[str, Any] = {}
    cores = os.cpu_count() or 1
    if "a" in parts:
        of = (
            speed.Size(workers=1, samples=2, seconds=0.1)
            if small
            else speed.Size(workers=2 * cores, samples=100, seconds=6)
        )
        found["a"] = speed.measure(on, of, lambda text: say(f"a: {text}"))
    if parts & {"b", "c"}:
        workers, idle = ((2,), (3,)) if small else ((10, 100, 200, 500), (200, 500))
        # So long that each worker is seen looking around once.
        found["b"] = size.measure(
            on,
            size.Size(
                workers=workers if "b" in parts else (),
                idle=idle if "c" in parts else (),
                seconds=0.2 if small else BLOCK_SECONDS + 1,
            ),
            lambda text: say(f"b, c: {text}"),
        )
    if "d" in parts:
        tasks, slots, rounds = (1000, 8, 1) if small else (100_000, 1000, 7)
        found["d"] = plan.measure(tasks, slots, rounds, lambda text: say(f"d: {text}"))
    if "e" in parts:
        packed = (
            packages.Size(packages=1, functions=1, jobs=1, rounds=1)
            if small
            else packages.Size(packages=6, functions=100, jobs=cores, rounds=3)
        )
        found["e"] = packages.measure(on.top, packed, lambda text: say(f"e: {text}"))
    if "f" in parts:
        large = (
            publish.Size(packages=(20, 60), rounds=1, at_once=4)
            if small
            else publish.Size(packages=(1000, 10_000), rounds=15, at_once=100)
        )
        found["f"] = publish.measure(on.top, large, lambda text: say(f"f: {text}"))
    if "g" in parts:
        found["g"] = pages.measure(
            on.top, pages.SMALL if small else pages.LARGE, lambda text: say(f"g: {text}")
        )
    return found


def _parts(text: str) -> set[str]:
    names = set(text.replace(",", " ").split())
    if not names or not names <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: name parts of {','.join(PARTS)}")
    return names


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    helps = "\n".join(f"  {name}  {text}" for name, text in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=f"Measures the backend on this machine. Parts:\n{helps}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", type=_parts, default=set(PARTS), help="e.g. a,b (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where files go")
    parser.add_argument("--small", action="store_true", help="tiny numbers: only to see it work")
    return parser.parse_args(argv)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; 0 when all ran, whatever the figures are."""
    args = _arguments(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:5.0f} s] {text}", file=sys.stderr, flush=True)

    # On a disk, which /tmp often is not. A short name: unix sockets allow 107 bytes.
    where = os.environ.get("TMPDIR", "/var/tmp")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="copr-bench-", dir=where) as top,
            speed.ground(Path(top)) as on,
        ):
            parts = _measure(args.parts, on, args.small, say)
    except KeyboardInterrupt:
        say("interrupted, everything is ended and removed")
        return 130
    result = {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "version": __version__,
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "seconds": time.monotonic() - begin,
        "parts": parts,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    print(report.render(result))
    files = [args.out / "bench.json"]
    if plot.draw(result, args.out / "bench.png"):
        files.append(args.out / "bench.png")
    print(f"\nwritten: {', '.join(map(str, files))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
