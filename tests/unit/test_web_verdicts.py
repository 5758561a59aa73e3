"""Classes of failures: stored from reports, told by the API."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_web_lab import running_lab

LINE = {"line": 3, "offset": 40, "text": "a.c:1: error: no"}


def test_the_class_of_a_failure_is_told(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        lab.project(chroots=["fedora-41-x86_64"])
        build = lab.submit()
        lab.source_done(build)
        verdict = {"kind": "compile", "lines": [LINE]}
        lab.report(build, "fedora-41-x86_64", status=0, failure="no", triage=verdict)
        assert lab.client.get(f"/api_3/build/{build}").json()["triage"] == verdict
        where = f"/api_3/build-chroot?build_id={build}&chrootname=fedora-41-x86_64"
        assert lab.client.get(where).json()["triage"] == verdict
        assert lab.api("DELETE", f"/build/delete/{build}").status_code == 200


def test_without_a_verdict_our_own_words_are_known(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        lab.project(chroots=["fedora-41-x86_64"])
        build = lab.submit()
        lab.report(build, status=0, failure="its worker died 3 times: given up (max_attempts)")
        told = lab.client.get(f"/api_3/build/{build}").json()["triage"]
        assert told == {"kind": "infrastructure", "lines": []}


@pytest.mark.parametrize(
    "verdict",
    [
        7,
        {"kind": "aliens"},
        {"kind": ["compile"]},
        {"kind": "compile", "lines": 7},
        {"kind": "compile", "lines": [7, {"line": "1"}, LINE | {"line": True}]},
    ],
)
def test_a_broken_verdict_does_no_harm(tmp_path: Path, verdict: Any) -> None:
    with running_lab(tmp_path) as lab:
        lab.project(chroots=["fedora-41-x86_64"])
        build = lab.submit()
        lab.report(build, status=0, failure="x", triage=verdict)
        told = lab.client.get(f"/api_3/build/{build}").json()
        assert told["state"] == "failed"
        assert told["triage"] in (None, {"kind": "compile", "lines": []})


def test_canceled_is_a_class(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        lab.project(chroots=["fedora-41-x86_64"])
        build = lab.submit()
        assert lab.api("PUT", f"/build/cancel/{build}").status_code == 200
        lab.back(f"build-tasks/canceled/{build}", {})
        assert lab.client.get(f"/api_3/build/{build}").json()["triage"]["kind"] == "canceled"
