"""The regular prune: when it is due, and how it takes its turn among actions."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from backend.daemons import pruner
from backend.daemons.actions import Actions
from backend.events import Events
from backend.frontend import Frontend
from backend.web.setup import first_start
from tests.unit.test_web_lab import make_config


def test_it_is_due_at_first_and_again_after_its_time(tmp_path: Path) -> None:
    config = make_config(tmp_path, prune__every="1d")
    config.statedir.mkdir()
    assert config.prune_every == 86400
    assert pruner.due(config, 1000.0)
    pruner.stamp(config).touch()
    os.utime(pruner.stamp(config), (1000, 1000))
    assert not pruner.due(config, 1000.0 + 86399)
    assert pruner.due(config, 1000.0 + 86400)
    assert pruner.due(config, 999.0), "a clock that went back does not put it off for ever"
    assert not pruner.due(replace(config, prune_every=0), 1e9)


class Quiet(Frontend):
    def pending_actions(self):  # type: ignore[no-untyped-def]
        return [], []


def test_it_waits_for_its_turn_and_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path, prune__every="1h")
    config.statedir.mkdir()
    started: list[int] = []
    actions = Actions(config, "", Quiet("http://x", ""), lambda *_: None)
    monkeypatch.setattr(Actions, "_start", lambda self, action, now: started.append(action.id))
    monkeypatch.setattr("backend.daemons.actions.beat", lambda *_: None)
    actions.once(1000.0)
    assert started == [pruner.PRUNE]
    actions.once(2000.0)
    assert actions.known.keys() == {pruner.PRUNE}


class Silent(Events):
    def __init__(self) -> None:
        self.said: list[str] = []

    def emit(self, what: str, *_: object, **__: object) -> None:
        self.said.append(what)


def test_it_leaves_its_stamp_or_the_reason(tmp_path: Path) -> None:
    config = make_config(tmp_path, prune__every="1h")
    first_start(config)
    failed = config.destdir / "admin/hello/fedora-41-x86_64/00000001-hello"
    failed.mkdir(parents=True)
    reader, writer = multiprocessing.Pipe(duplex=False)
    frontend = Quiet(config.frontend_url, "")
    assert pruner.carry_out(config, frontend, Silent(), writer) == pruner.DONE
    assert pruner.stamp(config).exists()
    assert failed.exists(), "nobody knows such a project"
    remote = replace(config, frontend_base_url="http://127.0.0.1:9")
    away = Frontend("http://127.0.0.1:9", "")
    assert pruner.carry_out(remote, away, Silent(), writer) == pruner.FAULT
    assert b"127.0.0.1:9" in reader.recv_bytes()
