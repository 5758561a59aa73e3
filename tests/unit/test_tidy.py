"""What a farm at rest leaves behind."""

import os
import subprocess
from pathlib import Path

import pytest

from backend.builders import cgroup, sandbox
from backend.builders.cgroup import Place
from backend.config import load
from backend.daemons import tidy
from tests.unit.stub_builder import StubBuilder


def test_control_groups_of_killed_workers_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copr-be.conf"
    path.write_text(f"[backend]\nstatedir = {tmp_path}/state\nrundir = {tmp_path}/run\n")
    config = load(path)
    parents = {name: tmp_path / name for name in cgroup.NEEDED}
    monkeypatch.setattr(sandbox, "groups", lambda _: Place(version=1, parents=parents))
    with subprocess.Popen(["true"]) as dead:
        pass
    mine = cgroup.name(config.statedir, 0)
    left = mine.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    for parent in parents.values():
        for name in (mine, left, f"copr-be-other-{dead.pid}-0"):
            (parent / name).mkdir(parents=True)
    assert tidy.sweep_workdirs(config, StubBuilder(config)) == []
    for parent in parents.values():
        assert sorted(one.name for one in parent.iterdir()) == sorted(
            [mine, f"copr-be-other-{dead.pid}-0"]
        )
