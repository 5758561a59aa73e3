"""What machines are told: metrics, readiness; and samples for the plots."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.farmview import View, WorkerView
from backend.web import activity, samples
from tests.unit.test_web_lab import Lab, running_lab
from tests.unit.test_web_pages import failed_build


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path) as made:
        yield made


def test_machines_are_told(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        failed_build(lab)
        text = lab.client.get("/metrics").text
        assert 'copr_tasks_failed_total{kind="compile"} 1' in text
        assert "copr_builds_total 1" in text
        for line in text.splitlines():
            assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? \S+', line), line
        ready = lab.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["this frontend does not see the farm"]
        assert lab.client.get("/status.json").json()["ended"] == {"failed": 1, "succeeded": 1}
        badge = lab.client.get("/coprs/admin/hello/badge.svg")
        assert badge.headers["content-type"] == "image/svg+xml"
        assert "failed" in badge.text
        assert lab.client.get("/coprs/admin/hello/package/no/badge.svg").status_code == 404


def test_ready_and_workers_follow_the_farm(tmp_path: Path) -> None:
    views: list[View] = []

    def look() -> View:
        busy = WorkerView(name="0-1", group=0, task="1-x", since=time.time() - 90)
        return views[-1] if views else View(workers=(busy,))

    with running_lab(tmp_path, look=look) as lab:
        assert lab.client.get("/readyz").json() == {"status": "ready", "reasons": []}
        assert re.search(r"1 min [2-5]\d s", lab.client.get("/workers").text)
        views.append(View(drained="maintenance", grabber={"trouble": "frontend is away"}))
        told = lab.client.get("/readyz")
        assert told.status_code == 503
        assert len(told.json()["reasons"]) == 3
        assert "No worker is there" in lab.client.get("/workers").text
        assert "maintenance" in lab.client.get("/").text


def test_samples_are_stored_when_something_happens(lab: Lab) -> None:
    ctx = lab.app.state.context
    failed_build(lab)
    start = int(time.time()) + 1000
    for at in (start, start + 60, start + 120):
        with ctx.writing() as store:
            samples.take(ctx, store, at)
    with ctx.reading() as store:
        found = [(r.at, r.succeeded, r.failed) for r in samples.lately(store, start - 1)]
    assert found == [(start, 1, 1), (start + 60, 0, 0)]


def rectangles(page: str) -> list[str]:
    return re.findall(r'<rect class="(good|bad)"', page)


def test_the_first_tasks_are_in_the_plots_at_once(lab: Lab) -> None:
    ctx = lab.app.state.context
    lab.project("empty")
    assert 'class="plot"' not in lab.client.get("/").text
    failed_build(lab)
    page = lab.client.get("/").text
    assert rectangles(page) == ["good", "bad"]
    assert "30 min ago" in page
    area = re.search(r'class="run" d="([^"]+)"', page)
    assert area
    assert "V6.0" in area[1]  # at least one task ran
    with ctx.writing() as store:
        samples.take(ctx, store, int(time.time()) - 90)
    assert rectangles(lab.client.get("/").text) == ["good", "bad"]


def test_an_idle_farm_keeps_its_plots(lab: Lab) -> None:
    ctx = lab.app.state.context
    failed_build(lab)
    with ctx.writing() as store:
        samples.take(ctx, store, int(time.time()) - 24 * 3600)
    page = lab.client.get("/").text
    assert "none in the last 6 h" in page
    assert rectangles(page) == []


def test_a_sample_tells_of_the_minute_before_it() -> None:
    assert activity.until_now([], 1000, 2) == [(940, 2)]
    assert activity.until_now([(300, 0), (985, 5)], 1000, 0) == [(240, 0), (925, 5), (985, 0)]
