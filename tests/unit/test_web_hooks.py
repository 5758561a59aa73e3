"""Webhooks of projects: told of finished builds, and asking for builds."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.web import courier as courier_module
from backend.web import outbound
from backend.web.courier import Courier
from tests.unit.hookbench import FEDORA, KEY, URL, Bench, finished, running_bench
from tests.unit.test_web_pages import log_in


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with running_bench(tmp_path, monkeypatch) as made:
        yield made


def test_a_finished_build_is_told_once_and_signed(bench: Bench) -> None:
    bench.add()
    build = bench.lab.submit()
    bench.lab.source_done(build)
    bench.step()
    assert bench.post.sent == []
    bench.lab.report(build, FEDORA, status=1)
    bench.lab.report(build, FEDORA, status=1)
    bench.step()
    bench.step()
    ((url, fields, document),) = bench.post.sent
    assert url == URL
    assert document["build"]["id"] == build
    assert document["build"]["state"] == "succeeded"
    assert document["build"]["chroots"][0]["name"] == FEDORA
    assert fields["X-Copr-Event"] == "build.finished"
    assert fields["X-Copr-Delivery"] == document["delivery"] == f"{build}-succeeded"
    mac = hmac.new(KEY.encode(), bench.post.raw[0], hashlib.sha256).hexdigest()
    assert fields["X-Hub-Signature-256"] == f"sha256={mac}"
    (line,) = bench.log()
    assert (line["state"], line["status"], line["tries"]) == ("delivered", 200, 1)


def test_failed_and_canceled_builds_are_told_when_they_are_over(bench: Bench) -> None:
    bench.add()
    failed = finished(bench.lab, status=0)
    canceled = bench.lab.submit()
    bench.lab.api("PUT", f"/build/cancel/{canceled}")
    bench.step()
    assert [document["build"]["id"] for _, _, document in bench.post.sent] == [failed]
    assert "no rule" in bench.post.sent[0][2]["build"]["failure"]
    bench.lab.back(f"build-tasks/canceled/{canceled}", {})
    bench.step()
    assert bench.post.sent[1][2]["build"]["state"] == "canceled"


def test_a_message_is_tried_until_it_is_taken_and_others_wait_behind_it(bench: Bench) -> None:
    bench.add()
    first, second = finished(bench.lab), finished(bench.lab)
    bench.post.answer = outbound.Trouble("nobody is there")
    assert bench.step() > 0
    bench.step()
    assert len(bench.post.sent) == 1
    line = bench.log()[-1]
    assert (line["state"], line["trouble"]) == ("waiting", "nobody is there")
    bench.post.answer = 503
    bench.now = line["due"]
    bench.step()
    assert bench.log()[-1]["trouble"] == "it answered 503"
    assert bench.log()[-1]["due"] > bench.now + 2
    bench.post.answer = 204
    bench.now += 3600
    bench.step()
    bench.step()
    assert [document["build"]["id"] for _, _, document in bench.post.sent] == [
        *(first, first, first, second)
    ]
    assert {line["state"] for line in bench.log()} == {"delivered"}
    assert len({fields["X-Copr-Delivery"] for _, fields, _ in bench.post.sent[:3]}) == 1


def test_one_receiver_does_not_hold_up_another(bench: Bench) -> None:
    bench.add("http://slow.example.org/")
    bench.add("http://fast.example.org/")
    finished(bench.lab)
    gate = asyncio.Event()

    async def post(url: str, fields: dict[str, str], body: bytes) -> int:
        if "slow" in url:
            await gate.wait()
        return 200

    async def whole() -> None:
        bench.courier = Courier(bench.ctx, post, lambda: bench.now)
        await bench.courier.once()
        await bench.courier._busy[2]
        assert list(bench.courier._busy) == [1]
        gate.set()
        await asyncio.gather(*bench.courier._busy.values())

    bench.lab.client._runner.run(whole())
    assert [bench.log(hook)[0]["state"] for hook in (1, 2)] == ["delivered", "delivered"]


def test_what_cannot_help_is_not_tried_again(bench: Bench) -> None:
    bench.add()
    finished(bench.lab)
    bench.post.answer = outbound.Refused("not there")
    bench.step()
    assert (bench.log()[0]["state"], bench.log()[0]["trouble"]) == ("failed", "not there")
    assert bench.step() == 3600
    finished(bench.lab)
    bench.post.answer = outbound.Trouble("away")
    bench.now += courier_module.GIVE_UP + 1000
    bench.step()
    assert bench.log()[0]["state"] == "failed"


def test_a_message_is_sent_again_when_somebody_asks(bench: Bench) -> None:
    hook = bench.add()
    assert bench.lab.api("POST", f"/webhook/ping/admin/hello/{hook}").status_code == 200
    bench.step()
    line = bench.log()[0]
    assert (line["event"], line["build_id"], line["state"]) == ("ping", None, "delivered")
    assert bench.lab.api("POST", f"/webhook/redeliver/admin/hello/{line['id']}").status_code == 200
    bench.step()
    assert [fields["X-Copr-Event"] for _, fields, _ in bench.post.sent] == ["ping", "ping"]


def test_old_deliveries_are_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "KEPT", 2)
    hook = bench.add()
    for _ in range(4):
        bench.lab.api("POST", f"/webhook/ping/admin/hello/{hook}")
        bench.step()
    assert [line["id"] for line in bench.log()] == [4, 3]


def test_messages_survive_the_frontend(bench: Bench) -> None:
    bench.add()
    build = finished(bench.lab)
    other = Courier(bench.ctx, bench.post, lambda: bench.now)
    bench.courier = other
    bench.step()
    assert bench.post.sent[0][2]["build"]["id"] == build


def test_only_who_may_change_the_project_sees_and_changes_webhooks(bench: Bench) -> None:
    for method, path in (
        ("GET", "/webhook/list?ownername=admin&projectname=hello"),
        ("POST", "/webhook/add/admin/hello"),
        ("DELETE", "/webhook/delete/admin/hello/1"),
        ("POST", "/webhook/generate/admin/hello"),
    ):
        reply = bench.lab.client.request(method, f"/api_3{path}", json={"url": URL})
        assert reply.status_code == 401
    hook = bench.add()
    where = "/webhook/list?ownername=admin&projectname=hello"
    shown = bench.lab.api("GET", where)
    assert KEY not in shown.text
    assert shown.json()["items"][0] | {"created_on": 0} == {
        "id": hook, "url": URL, "created_on": 0, "signed": True
    }  # fmt: skip
    bench.lab.project("other")
    refused = bench.lab.api("DELETE", f"/webhook/delete/admin/other/{hook}")
    assert refused.status_code == 404
    assert bench.lab.api("DELETE", f"/webhook/delete/admin/hello/{hook}").status_code == 200
    assert bench.lab.api("GET", where).json()["items"] == []


def test_odd_addresses_are_refused(bench: Bench) -> None:
    for url, text in (
        ("ftp://x/", "write http://"),
        ("https://user:pass@example.org/", "no password"),
        ("https://exa mple/", "no spaces"),
        ("http:///nothing", "write http://"),
        ("http://[::1", "url:"),
        ("http://h:99999/", "url:"),
        (7, "must be text"),
    ):
        reply = bench.lab.api("POST", "/webhook/add/admin/hello", {"url": url})
        assert reply.status_code == 400
        assert text in reply.json()["error"]


def test_deleting_a_project_forgets_its_webhooks(bench: Bench) -> None:
    bench.add()
    finished(bench.lab)
    reply = bench.lab.api("DELETE", "/project/delete/admin/hello", {"verify": True})
    assert reply.status_code == 200, reply.text
    bench.step()
    assert bench.post.sent == []


def test_the_page_shows_webhooks_and_its_forms_work(bench: Bench) -> None:
    headers, token = log_in(bench.lab)
    page = "/coprs/admin/hello/webhooks"
    assert bench.lab.client.get(page).status_code == 401

    def send(where: str, **fields: str) -> httpx.Response:
        data = {"form_token": token, **fields}
        return bench.lab.client.post(f"{page}/{where}", data=data, headers=headers)

    assert send("add", url="https://x.example.org/<b>", secret="").status_code == 303
    assert send("add", url=URL, form_token="wrong").status_code == 403
    assert send("1/ping").status_code == 303
    assert send("secret").status_code == 303
    bench.post.answer = outbound.Trouble("<i>away</i>")
    bench.step()
    shown = bench.lab.client.get(page, headers=headers).text
    assert "https://x.example.org/&lt;b&gt;" in shown
    assert "&lt;i&gt;away&lt;/i&gt;" in shown
    assert re.search(r"/webhooks/github/1/[0-9a-f]{40}/", shown)
    assert send("1/again").status_code == 303
    assert send("1/delete").status_code == 303
    assert "None yet." in bench.lab.client.get(page, headers=headers).text
    assert "/webhooks" in bench.lab.client.get("/coprs/admin/hello/", headers=headers).text
    assert "/webhooks" not in bench.lab.client.get("/coprs/admin/hello/").text
