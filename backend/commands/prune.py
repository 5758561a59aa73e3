"""`copr_be.py prune`: what of the results may go and why; with `--yes` it goes."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backend.commands.store import engine_of
from backend.commands.text import count, plain, size
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import CoprBackendError
from backend.frontend import Frontend
from backend.identity import Identity
from backend.prune import Books, Pruner, Work, alone
from backend.prune_remote import RemoteBooks
from backend.pruning import Step


@contextlib.contextmanager
def books_of(config: Config) -> Iterator[Books]:
    """The accounts of the frontend in use, as the daemon's user."""
    if not config.embedded:
        identity = Identity.of(config)
        if identity:
            identity.assume()
        yield RemoteBooks(Frontend(config.frontend_url, config.frontend_auth), config.frontend_url)
        return
    from backend.web.books import EmbeddedBooks  # noqa: PLC0415  (needs the web extra)

    with engine_of(config) as engine:
        yield EmbeddedBooks(engine)


def run(config: Config, *, owner: str, project: str, yes: bool, as_json: bool) -> int:
    """Show, or do it. 1 when something could not be removed."""
    if "/" in project:
        first, _, project = project.partition("/")
        if owner and owner != first:
            raise CoprBackendError(f"--owner {owner} and --project {first}/{project} differ")
        owner = first
    notes: list[str] = []
    with books_of(config) as books:
        pruner = Pruner(config=config, books=books, say=notes.append, owner=owner, project=project)
        with alone(config) if yes else contextlib.nullcontext():
            work = pruner.plan(time.time())
            done = pruner.carry_out(work) if yes else None
    if as_json:
        print(json.dumps(_document(config, work, done, pruner.failed, notes), indent=2))
    else:
        for line in _lines(work, done, pruner.failed, notes):
            print(line)
    for problem in pruner.failed:
        print(f"copr_be.py: {plain(problem)}", file=sys.stderr)
    return Exit.FAILED if pruner.failed else Exit.OK


def _steps(work: Sequence[Work]) -> list[Step]:
    return [step for piece in work for step in piece.steps]


def _document(
    config: Config,
    work: Sequence[Work],
    done: Sequence[Step] | None,
    failed: Sequence[str],
    notes: Sequence[str],
) -> dict[str, Any]:
    steps = _steps(work) if done is None else done
    return {
        "dry_run": done is None,
        "bytes": sum(step.bytes for step in steps),
        "items": [_item(config.destdir, step) for step in steps],
        "ended_chroots": [{"path": str(p.repo), "reason": p.ended} for p in work if p.ended],
        "failed": list(failed),
        "notes": list(notes),
    }


def _item(destdir: Path, step: Step) -> dict[str, Any]:
    found = step.found
    return {
        "owner": found.owner,
        "project": found.dirname,
        "chroot": found.chroot,
        "build": found.build,
        "path": str(destdir / found.place),
        "what": step.what,
        "reason": step.reason,
        "bytes": step.bytes,
    }


def _lines(
    work: Sequence[Work], done: Sequence[Step] | None, failed: Sequence[str], notes: Sequence[str]
) -> Iterator[str]:
    steps = _steps(work) if done is None else done
    for step in steps:
        what = "" if step.what == "all" else f" ({step.what})"
        yield f"{size(step.bytes):>10}  {step.found.place}{what}: {plain(step.reason)}"
    for piece in work:
        if piece.ended:
            yield f"{'':>10}  {piece.repo}: {piece.ended}"
    for note in notes:
        yield f"{'':>10}  {plain(note)}"
    total = size(sum(step.bytes for step in steps))
    if done is None:
        more = ": nothing was removed, --yes does it" if steps else ""
        yield f"{count(len(steps), 'item')}, {total} would be free{more}"
    else:
        bad = f", {count(len(failed), 'failure')}" if failed else ""
        yield f"{count(len(steps), 'item')} removed, {total} free now{bad}"
