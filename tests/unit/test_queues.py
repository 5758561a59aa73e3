"""The conveyor, on fakeredis."""

import os
import time

import fakeredis
import pytest
from retask import Queue
from retask import Task as RetaskTask

from backend import constants
from backend.exceptions import Canceled, ProtocolError
from backend.outbox import Outbox
from backend.processid import ProcessId
from backend.queues import Queues


@pytest.fixture
def queues() -> Queues:
    return Queues(fakeredis.FakeRedis(decode_responses=True))


def me() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process
    return process


def test_first_in_first_out_and_claimed_by_one(queues: Queues) -> None:
    for task in ("1", "2", "3"):
        queues.enqueue(0, task)
    assert queues.queued(0) == ["1", "2", "3"]
    claim = queues.claim(0, "0-0-9", 1)
    assert claim
    assert (claim.task_id, claim.attempt) == ("1", 1)
    assert queues.claims() == {"0-0-9": "1"}
    assert queues.queued(0) == ["2", "3"]


def test_a_plain_retask_producer_works(queues: Queues) -> None:
    queue = Queue("copr-be-0")
    queue.rdb, queue.connected = queues.client, True
    assert queue.enqueue(RetaskTask({"task_id": "5-fedora-41-x86_64", "more": 1}))
    claim = queues.claim(0, "w", 1)
    assert claim
    assert claim.task_id == "5-fedora-41-x86_64"


def test_garbage_in_a_queue_is_refused_and_gone(queues: Queues) -> None:
    queues.client.lpush(constants.QUEUE_KEY.format(group=0), "garbage")
    with pytest.raises(ProtocolError, match="garbage"):
        queues.claim(0, "w", 1)
    assert queues.claims() == {}


def test_given_back_tasks_are_taken_next_with_a_new_attempt(queues: Queues) -> None:
    queues.enqueue(0, "1")
    queues.enqueue(0, "2")
    assert queues.claim(0, "w", 1)
    queues.give_back("w", 0)
    assert queues.queued(0) == ["1", "2"]
    again = queues.claim(0, "v", 1)
    assert again
    assert again.attempt == 2


def test_a_worker_back_from_the_dead_reports_nothing(queues: Queues) -> None:
    queues.enqueue(0, "1")
    old = queues.claim(0, "w", 1)
    queues.give_back("w", 0)
    new = queues.claim(0, "v", 1)
    assert old
    assert new
    assert not queues.current(old)
    assert not queues.finish(old, {"task_id": "1", "status": 0})
    assert queues.outbox() == []
    assert queues.finish(new, {"task_id": "1", "status": 1})
    assert [report.build["status"] for report in queues.outbox()] == [1]
    assert queues.claims() == {}


def test_a_report_that_was_sent_before_is_known(queues: Queues) -> None:
    outbox = Outbox(queues.client)
    for task in ("1", "2"):
        queues.post({"task_id": task, "status": 1})
    first, second = outbox.read(9)
    assert outbox.sending([first]) == set()
    assert outbox.sending([first, second]) == {"1"}
    outbox.delivered([first])
    assert [report.task_id for report in outbox.read(9)] == ["2"]
    assert outbox.sending([second]) == {"2"}
    outbox.delivered([second])
    assert queues.client.keys("copr-be:*") == []


def test_a_report_that_holds_up_the_others_goes_to_the_end(queues: Queues) -> None:
    outbox = Outbox(queues.client)
    for task in ("1", "2"):
        queues.post({"task_id": task, "status": 1})
    outbox.to_the_end(outbox.read(1)[0])
    assert [report.task_id for report in outbox.read(0)] == ["2", "1"]


def test_many_are_enqueued_and_taken_back_in_order(queues: Queues) -> None:
    queues.enqueue_all([("1", 0), ("2", 1), ("3", 0)])
    assert queues.queued(0) == ["1", "3"]
    assert queues.take_all(0) == ["1", "3"]
    assert (queues.queued(0), queues.queued(1)) == ([], ["2"])


def test_a_repeated_finish_reports_once(queues: Queues) -> None:
    queues.enqueue(0, "1")
    claim = queues.claim(0, "w", 1)
    assert claim
    assert queues.finish(claim, {"task_id": "1", "status": 1})
    assert not queues.finish(claim, {"task_id": "1", "status": 1})
    assert len(queues.outbox()) == 1


def test_a_success_that_its_owner_has_canceled_does_not_end_the_claim(queues: Queues) -> None:
    queues.enqueue(0, "1")
    claim = queues.claim(0, "w", 1)
    assert claim
    queues.request_cancel("1")
    with pytest.raises(Canceled):
        queues.finish(claim, {"task_id": "1", "status": 1})
    assert (queues.claims(), queues.outbox()) == ({"w": "1"}, [])
    assert queues.finish(claim, None)
    assert queues.claims() == {}
    assert sorted(queues.client.keys("copr-be:*")) == ["copr-be:worker:w", "copr-be:workers"]


def test_the_report_of_a_dead_worker_replaces_its_claim(queues: Queues) -> None:
    queues.enqueue(0, "1")
    assert queues.claim(0, "w", 1)
    queues.post({"task_id": "1", "status": 0}, "w")
    assert (queues.claims(), len(queues.outbox())) == ({}, 1)


def test_late_deaths_of_others_are_counted(queues: Queues) -> None:
    assert queues.note_death("1", 1000.0) == 0
    assert queues.note_death("1", 1001.0) == 0
    assert queues.note_death("2", 1002.0) == 1
    assert queues.note_death("2", 1003.0 + constants.LATELY) == 0


def test_removed_from_the_queue_by_task(queues: Queues) -> None:
    queues.enqueue(0, "1")
    queues.enqueue(0, "2")
    assert queues.remove(0, "1")
    assert not queues.remove(0, "1")
    assert queues.queued(0) == ["2"]


def test_registered_workers_are_identified_by_start_time(queues: Queues) -> None:
    queues.register("w", 3, me())
    holder = queues.holder("w")
    assert holder
    assert holder == (me(), 3)
    assert holder[0].alive
    assert not ProcessId(os.getpid(), me().start + 1).alive
    queues.bury("w")
    assert queues.holder("w") is None


def test_garbage_in_a_claim_is_dropped(queues: Queues) -> None:
    key = constants.CLAIM_KEY.format(worker="0-0-9")
    queues.client.lpush(key, "garbage")
    queues.enlist()
    assert queues.workers() == ["0-0-9"]
    assert queues.claims() == {}
    assert not queues.client.exists(key)


def test_a_doubled_task_loses_its_last_entry(queues: Queues) -> None:
    queues.client.lpush(constants.QUEUE_KEY.format(group=0), "garbage")
    for task in ("1", "2", "1"):
        queues.enqueue(0, task)
    assert queues.remove(0, "1")
    assert queues.queued(0) == ["1", "2"]


def test_a_superseded_worker_reports_nothing(queues: Queues) -> None:
    queues.enqueue(0, "1")
    claim = queues.claim(0, "0-0-9", 1)
    assert claim
    queues.supersede("1")
    assert not queues.current(claim)
    assert not queues.finish(claim, {"task_id": "1"})
    assert queues.outbox() == []


def test_a_worker_whose_claim_was_taken_away_is_not_current_any_more(queues: Queues) -> None:
    queues.enqueue(0, "1")
    claim = queues.claim(0, "w", 1)
    assert claim
    assert queues.standing(claim) == (True, False)
    queues.request_cancel("1")
    assert queues.standing(claim) == (True, True)
    queues.give_back("w", 0)  # nobody has started it again yet
    assert not queues.current(claim)
    assert not queues.finish(claim, {"task_id": "1", "status": 1})
    assert queues.outbox() == []


def test_nothing_is_known_of_a_task_that_ended_without_a_report(queues: Queues) -> None:
    queues.enqueue(0, "1")
    claim = queues.claim(0, "w", 1)
    assert claim
    queues.count_death("1")
    queues.request_cancel("1")
    assert queues.finish(claim, None)
    assert sorted(queues.client.keys("copr-be:*")) == ["copr-be:worker:w", "copr-be:workers"]
    queues.count_death("2")
    queues.request_cancel("2")
    queues.forget("2")
    assert sorted(queues.client.keys("copr-be:*")) == ["copr-be:worker:w", "copr-be:workers"]


def test_a_worker_says_what_it_has_and_since_when(queues: Queues) -> None:
    queues.enqueue(0, "1")
    before = time.time()
    claim = queues.claim(0, "w", 1)
    assert claim
    held = queues.client.hgetall("copr-be:worker:w")
    assert held["task"] == "1"
    assert before - 0.001 <= float(held["since"]) <= time.time() + 0.001
    queues.finish(claim, None)
    assert queues.client.hgetall("copr-be:worker:w") == {"task": "", "since": ""}
