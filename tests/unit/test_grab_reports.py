"""The job grabber delivers reports: one pass at a time, against a frontend in memory."""

import pytest

from backend.daemons import mirror
from backend.outbox import Outbox
from backend.records import Told
from tests.unit.grabber import MemoryFrontend, alive, grabber, slow


@pytest.fixture(autouse=True)
def no_manners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that takes long on a busy machine does not put the next one off."""
    monkeypatch.setattr(mirror, "MANNERS", 0.0)


def test_reports_wait_for_the_frontend_and_are_delivered_once() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.queues.post({"id": 1, "task_id": "1", "status": 1})
    frontend.away = True
    grab.look(fetch=True)
    grab.look(fetch=True)
    assert frontend.updates == []
    frontend.away = False
    grab.look(fetch=True)
    grab.look(fetch=True)
    assert [update["status"] for update in frontend.updates] == [1]


def test_a_report_with_unknown_outcome_is_not_sent_twice() -> None:
    frontend = MemoryFrontend()  # it took the report, and we died before we knew
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.post({"id": 1, "task_id": "1", "status": 1})
    Outbox(grab.queues.client).sending(grab.queues.outbox())
    grab.look(fetch=True)
    assert frontend.updates == []
    assert grab.queues.outbox() == []


def test_a_delivered_task_that_a_forgetful_redis_brings_back_is_not_reported_again() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    for _ in range(2):
        claim = grab.queues.claim(0, "0-0-1", 1)
        assert claim
        grab.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
        grab.look(fetch=True)
        assert [update["status"] for update in frontend.updates] == [1]
        grab.queues.enqueue(0, "1")  # as it was a second ago


def test_a_success_from_before_the_cancel_is_delivered_before_it_is_acknowledged() -> None:
    task = "1-debian-12-x86_64"
    frontend = MemoryFrontend(task)
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.queues.finish(claim, {"id": 1, "task_id": task, "status": 1})
    frontend.cancels = [task]
    grab.hear()
    grab.grab.cancels.step(grab.desk.tick())
    assert frontend.updates == []
    grab.look(fetch=True)
    assert frontend.updates == [
        {"id": 1, "task_id": task, "status": 1},
        ("canceled", task, True),
    ]
    assert grab.queues.client.keys("copr-be:cancel") == []


def test_the_report_of_a_canceled_source_build_is_taken_back() -> None:
    frontend = MemoryFrontend("1")
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
    frontend.unfinished, frontend.cancels = [], ["1"]
    grab.hear()
    grab.grab.cancels.step(grab.desk.tick())
    grab.look(fetch=True)
    assert frontend.updates == [("canceled", "1", False)]
    assert grab.queues.outbox() == []


@pytest.mark.parametrize("accepted", [True, False])
def test_a_success_that_the_frontend_has_taken_stays_published(
    accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdrawn: list[Told] = []
    monkeypatch.setattr(
        "backend.rpmtask.retract_told", lambda _config, told, _manners: withdrawn.append(told)
    )
    task = "1-debian-12-x86_64"
    frontend = MemoryFrontend(task)
    grab = grabber(frontend)
    grab.look(fetch=True)
    grab.queues.register("0-0-1", 0, alive())
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    told = Told(owner="o", dirname="p", chroot_dir="c", result_dir="r", devel=False)
    grab.queues.tell_place(task, told)
    grab.queues.finish(claim, {"id": 1, "task_id": task, "status": 1} if accepted else None)
    grab.look(fetch=True)  # delivers it, and only then hears of the cancel
    frontend.cancels = [task]
    later = grabber(frontend)  # even if the grabber has died meanwhile
    later.desk.queues.client = later.queues.client = grab.queues.client
    for _ in range(2):
        later.grab.cancels.step(later.desk.tick())
        later.grab.withdraw.step(later.desk.tick())
    assert ("canceled", task, False) in frontend.updates
    assert withdrawn == ([] if accepted else [told])


def test_what_a_dead_grabber_left_in_the_outbox_may_have_been_delivered() -> None:
    frontend = MemoryFrontend()  # it knows the end of task 1 already
    grab = grabber(frontend)
    grab.queues.post({"id": 1, "task_id": "1", "status": 1})
    grab.look(fetch=True)
    assert (frontend.updates, grab.queues.outbox()) == ([], [])


@pytest.mark.parametrize("named", [True, False])
def test_a_success_just_before_its_cancel_is_sent_by_a_young_grabber(named: bool) -> None:
    """A canceled task leaves the frontend's list, as if its report had been taken: were it not
    sent, the frontend would call canceled what stays in the repository."""
    task = "1-debian-12-x86_64"
    frontend = MemoryFrontend(task)
    grab = grabber(frontend)
    frontend.away = not named
    grab.queues.register("0-0-1", 0, alive())
    if not named:  # another grabber's doing
        grab.queues.enqueue(0, task)
    grab.look(fetch=True)
    claim = grab.queues.claim(0, "0-0-1", 1)
    assert claim
    grab.look(fetch=True)
    grab.queues.finish(claim, {"id": 1, "task_id": task, "status": 1})
    frontend.away, frontend.unfinished, frontend.cancels = False, [], [task]
    for _ in range(3):
        grab.look(fetch=True)
    assert [update["status"] for update in frontend.updates[:1]] == [1]
    assert frontend.updates[1:] == [("canceled", task, True)]


def test_what_is_being_reported_is_not_built_again_when_redis_is_emptied() -> None:
    frontend = MemoryFrontend("1")
    rig, lanes = slow(frontend)
    rig.grab.look()
    lanes["mirror"].answer()
    lanes["cancels"].answer()
    rig.grab.look()
    rig.queues.register("0-0-1", 0, alive())
    claim = rig.queues.claim(0, "0-0-1", 1)
    assert claim
    rig.queues.finish(claim, {"id": 1, "task_id": "1", "status": 1})
    rig.look(fetch=True)
    assert lanes["deliver"].busy
    rig.queues.client.flushall()
    for _ in range(2):
        if lanes["mirror"].busy:
            lanes["mirror"].answer()
        rig.look(fetch=True)
    assert rig.queues.queued(0) == []
    lanes["deliver"].answer()
    assert [update["status"] for update in frontend.updates] == [1]
    assert rig.grab.conveyor.sending == set()
