"""Where a task is and why it waits, for the API and the pages."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import fakeredis
import pytest

from backend import constants
from backend.explain import Place, explain, explainer
from backend.processid import ProcessId
from backend.queues import Queues
from tests.unit.test_web_lab import CHROOTS, make_config, running_lab

NOW = 1_000_000.0


@pytest.fixture
def queues() -> Queues:
    queues = Queues(fakeredis.FakeRedis(decode_responses=True))
    me = ProcessId.of(os.getpid())
    assert me
    queues.enqueue_all([("1", 0), ("2", 0)])
    queues.register("0-3-77", 0, me)
    assert queues.claim(0, "0-3-77", 1)
    queues.post({"task_id": "3", "status": 1})
    return queues


def waits(queues: Queues, task: str, eta: float | None, position: int = 4) -> None:
    record = {"reason": "all are busy", "position": position, "eta": eta, "group": 0}
    queues.client.hset(constants.WAITING_KEY, task, json.dumps(record))


def test_every_place_has_a_sentence(queues: Queues) -> None:
    waits(queues, "4", None)
    found = explain(queues, [0], ["1", "2", "3", "4", "5"], NOW)
    assert {task: place.place for task, place in found.items()} == {
        "1": "building",
        "2": "queued",
        "3": "reported",
        "4": "waiting",
    }
    assert found["1"].text == "building on worker 0-3"
    assert found["4"] == Place(
        place="waiting", text="waiting: all are busy, position 4", position=4
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "within a minute"), (600, "in about 10 min"), (7200, "in about 2 h")],
)
def test_the_probable_start(queues: Queues, seconds: float, text: str) -> None:
    waits(queues, "4", NOW + seconds)
    place = explain(queues, [0], ["4"], NOW)["4"]
    assert place.text == f"waiting: all are busy, position 4, starts {text}"
    assert place.eta == NOW + seconds


def test_far_back_in_a_huge_backlog(queues: Queues) -> None:
    queues.client.hset(constants.GRABBER_KEY, mapping={"listed": 1000, "backlog": 5000})
    place = explain(queues, [0], ["99"], NOW)["99"]
    assert place.text == "waiting: more than 1000 tasks are before it"
    assert explain(queues, [0], [], NOW) == {}


def test_without_redis_nothing_is_known(tmp_path: Path) -> None:
    assert explainer(make_config(tmp_path))(["1"]) == {}


def test_api_and_pages_say_why(tmp_path: Path) -> None:
    asked: list[str] = []

    def look(tasks: Sequence[str]) -> dict[str, Place]:
        asked.extend(tasks)
        place = Place(place="waiting", text="waiting: because <so>", position=2, eta=5)
        return dict.fromkeys(tasks[:1], place)

    with running_lab(tmp_path, explain=look) as lab:
        lab.project(chroots=[CHROOTS[0]])
        build = lab.submit()
        reply = lab.client.get(f"/api_3/build/{build}").json()
        assert reply["waiting"] == {str(build): "waiting: because <so>"}
        (item,) = lab.client.get(f"/api_3/build/why/{build}").json()["items"]
        assert item == {
            "task_id": str(build),
            "place": "waiting",
            "text": "waiting: because <so>",
            "position": 2,
            "eta": 5,
        }
        for path in ("/", "/coprs/admin/hello/", f"/coprs/build/{build}"):
            assert "waiting: because &lt;so&gt;" in lab.client.get(path).text
        state = lab.client.get(f"/coprs/build/{build}/state").json()
        assert [task["waiting"] for task in state["tasks"]] == ["waiting: because <so>"]
        assert set(asked) == {str(build)}
        lab.api("PUT", f"/build/cancel/{build}")
        assert lab.client.get(f"/api_3/build/why/{build}").json()["items"] == []
        assert lab.client.get("/api_3/build/why/999").status_code == 404


def test_a_task_that_nobody_knows_yet(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        lab.project(chroots=[CHROOTS[0]])
        build = lab.submit()
        (item,) = lab.client.get(f"/api_3/build/why/{build}").json()["items"]
        assert item["place"] == "unknown"
        assert lab.client.get(f"/api_3/build/{build}").json()["waiting"] == {}
