"""Webhooks of projects: told of finished builds, and asking for builds."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.constants import Status
from backend.web import courier as courier_module
from backend.web import outbound, pushes
from backend.web.courier import Courier
from backend.web.setup import first_start
from tests.conftest import wait_until
from tests.unit.test_web_lab import CHROOTS, Lab, running_lab
from tests.unit.test_web_pages import log_in

FEDORA, DEBIAN = CHROOTS
URL = "https://hooks.example.org/in?x=1"
KEY = "sëcret"


class Post:
    """Notes what would be sent; answers with `answer`, a status or an error."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.raw: list[bytes] = []
        self.answer: int | Exception = 200

    async def __call__(self, url: str, fields: dict[str, str], body: bytes) -> int:
        self.sent.append((url, fields, json.loads(body)))
        self.raw.append(body)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Bench:
    """A lab with a courier of the test's own, whose clock only moves when told to."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.post = lab, Post()
        self.ctx = lab.app.state.context
        self.now = float(int(time.time()) + 1000)  # after all that happens in the test
        self.courier = Courier(self.ctx, self.post, lambda: self.now)

    def step(self) -> float:
        async def whole() -> float:
            pause = await self.courier.once()
            await asyncio.gather(*self.courier._busy.values())
            return pause

        return self.lab.client._runner.run(whole())

    def log(self, hook: int = 1) -> list[dict[str, Any]]:
        reply = self.lab.api("GET", f"/webhook/deliveries/admin/hello/{hook}")
        assert reply.status_code == 200
        items: list[dict[str, Any]] = reply.json()["items"]
        return items

    def add(self, url: str = URL, secret: str | None = KEY) -> int:
        body = {"url": url, "secret": secret}
        reply = self.lab.api("POST", "/webhook/add/admin/hello", body)
        assert reply.status_code == 200, reply.text
        number: int = reply.json()["id"]
        return number


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    async def nobody(_: Courier) -> None:
        """The frontend's own courier does nothing."""

    monkeypatch.setattr(Courier, "run", nobody)
    with running_lab(tmp_path) as lab:
        lab.project(chroots=[FEDORA])
        yield Bench(lab)


def finished(lab: Lab, status: int = 1) -> int:
    build = lab.submit()
    lab.source_done(build)
    lab.report(build, FEDORA, status=status, failure="no rule" if not status else None)
    return build


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


# --- sending ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("0.0.0.0", "100.64.0.1", "255.255.255.255", "224.0.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "not an address"),
    ],
)
def test_private_addresses_are_not_reached(address: str) -> None:
    assert not outbound.Gate().lets(address)


def test_public_and_allowed_addresses_are_reached() -> None:
    assert outbound.Gate().lets("93.184.215.14")
    assert outbound.Gate().lets("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    gate = outbound.Gate.of(["10.1.0.0/16", "::1/128"])
    assert gate.lets("10.1.2.3")
    assert gate.lets("::1")
    assert not gate.lets("10.2.0.1")
    assert not gate.lets("127.0.0.1")


class Receiver:
    """Answers each connection with `answer`; remembers what it was sent."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer, self.got = answer, b""
        self.done = asyncio.Event()

    async def post(self, path: str, gate: outbound.Gate, body: bytes = b"hi") -> int:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            try:
                url = f"http://127.0.0.1:{port}{path}"
                return await outbound.post(url, {"X-A": "b"}, body, gate)
            finally:
                if gate.allowed:
                    async with asyncio.timeout(100):
                        await self.done.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The other side may have enough at any time.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.got = await reader.readuntil(b"\r\n\r\n")
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()
        self.done.set()


LOCAL = outbound.Gate.of(["127.0.0.0/8"])


def test_a_post_arrives_and_its_status_is_read() -> None:
    receiver = Receiver(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n")
    assert asyncio.run(receiver.post("/a?b=c", LOCAL)) == 302
    assert receiver.got.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert b"\r\nX-A: b\r\n" in receiver.got
    assert b"\r\nContent-Length: 2\r\n" in receiver.got


def test_this_machine_is_not_reached() -> None:
    receiver = Receiver(b"HTTP/1.1 200 OK\r\n\r\n")
    with pytest.raises(outbound.Refused, match=r"web\.hook_networks"):
        asyncio.run(receiver.post("/", outbound.Gate()))
    assert receiver.got == b""


def test_a_receiver_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "PATIENCE", 1.0)
    with pytest.raises(outbound.Trouble, match="no answer"):
        asyncio.run(Receiver(None).post("/", LOCAL))


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"x" * 100_000])
def test_an_answer_that_is_none(answer: bytes) -> None:
    with pytest.raises(outbound.Trouble):
        asyncio.run(Receiver(answer).post("/", LOCAL))


def test_the_frontend_itself_sends(tmp_path: Path) -> None:
    receiver = Receiver(b"HTTP/1.1 200 OK\r\n\r\n")
    with running_lab(tmp_path, web__hook_networks="127.0.0.0/8") as lab:
        runner = lab.client._runner
        server = runner.run(asyncio.start_server(receiver.serve, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        lab.project(chroots=[FEDORA])
        body = {"url": f"http://127.0.0.1:{port}/here"}
        assert lab.api("POST", "/webhook/add/admin/hello", body).status_code == 200
        finished(lab)

        def delivered() -> bool:
            items = lab.api("GET", "/webhook/deliveries/admin/hello/1").json()["items"]
            return [item["state"] for item in items] == ["delivered"]

        wait_until(delivered)
        runner.run(receiver.done.wait())
        assert receiver.got.startswith(b"POST /here HTTP/1.1\r\n")
        server.close()


# --- asking for builds -----------------------------------------------------------------------


CLONE = "https://github.com/jdoe/Tools.git"


def package(lab: Lab, name: str = "tools", **more: object) -> None:
    body = {"clone_url": CLONE, "webhook_rebuild": True, **more}
    reply = lab.api("POST", f"/package/add/admin/hello/{name}/scm", body)
    assert reply.status_code == 200, reply.text


def key(lab: Lab) -> str:
    reply = lab.api("POST", "/webhook/generate/admin/hello")
    assert reply.status_code == 200
    return f"1/{reply.json()['webhook_secret']}"


def github(**more: object) -> dict[str, Any]:
    commit = {"added": [], "modified": ["sub/a.c"], "removed": []}
    payload = {
        "ref": "refs/heads/main",
        "after": "abcdef1234",
        "repository": {"clone_url": CLONE},
        "commits": [commit],
    }
    return payload | more


def hook(lab: Lab, path: str, payload: object = None, **headers: str) -> httpx.Response:
    return lab.client.post(f"/webhooks/{path}", json=payload, headers=headers)


def sources(lab: Lab) -> list[tuple[str, str]]:
    items = lab.client.get("/api_3/build/list?ownername=admin&projectname=hello").json()["items"]
    found = []
    for item in items:
        config = lab.client.get(f"/api_3/build/source-build-config/{item['id']}").json()
        found.append((item["source_package"]["name"], config["source_json"].get("committish", "")))
    return found


def test_a_push_builds_the_packages_that_it_concerns(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    package(lab, "sub", subdirectory="sub")
    package(lab, "elsewhere", subdirectory="su")
    package(lab, "branch", committish="stable")
    package(lab, "quiet", webhook_rebuild=False)
    package(lab, "foreign", clone_url="https://github.com/jdoe/tools2.git")
    where = key(lab)
    assert hook(lab, f"github/{where}/", github()).text == "OK\n"
    assert sources(lab) == [("tools", "abcdef1234"), ("sub", "abcdef1234")]
    assert hook(lab, f"github/{where}/sub/", github(after="1234567")).status_code == 200
    assert sources(lab)[2:] == [("sub", "1234567")]
    hook(lab, f"github/{where}", github(ref="refs/heads/stable"))
    assert ("branch", "abcdef1234") in sources(lab)
    assert "through a webhook (github)" in lab.client.get("/coprs/build/1").text
    assert lab.tasks()[0] == "1"


def test_tags_of_other_packages_are_left_alone(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    where = key(lab)
    gitlab = {
        "object_kind": "tag_push",
        "ref": "refs/tags/other-1.0-1",
        "after": "a" * 40,
        "project": {"git_http_url": "https://github.com/jdoe/tools/"},
    }
    assert hook(lab, f"gitlab/{where}/", gitlab).status_code == 200
    assert sources(lab) == []
    for ref in ("tools-1.0-1", "v7"):
        hook(lab, f"gitlab/{where}/", gitlab | {"ref": f"refs/tags/{ref}"})
    assert sources(lab) == [("tools", "tools-1.0-1"), ("tools", "v7")]


def test_bitbucket_and_forms_are_understood(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    where = key(lab)
    new = {"type": "branch", "name": "main", "target": {"hash": "beef1234"}}
    bitbucket = {
        "repository": {"links": {"html": {"href": "https://github.com/jdoe/tools"}}},
        "push": {"changes": [{"new": new}]},
    }
    assert hook(lab, f"bitbucket/{where}/", bitbucket).status_code == 200
    form = {"payload": json.dumps(github())}
    assert lab.client.post(f"/webhooks/github/{where}/", data=form).status_code == 200
    assert sources(lab) == [("tools", "beef1234"), ("tools", "abcdef1234")]


def test_nothing_is_built_for_what_is_no_push(bench: Bench) -> None:
    lab = bench.lab
    package(lab)
    where = key(lab)
    ping: dict[str, str] = {"X-GitHub-Event": "ping"}
    assert hook(lab, f"github/{where}/", {"zen": "x"}, **ping).text == "OK\n"
    assert hook(lab, f"github/{where}/", github(deleted=True)).text == "OK\n"
    assert hook(lab, f"github/{where}/", {}).status_code == 400
    assert hook(lab, f"gitlab/{where}/", [1]).status_code == 400
    assert lab.client.post(f"/webhooks/github/{where}/", content=b"{").status_code == 400
    assert hook(lab, f"sourceforge/{where}/", {}).status_code == 404
    assert hook(lab, "github/1/wrong/", github()).status_code == 403
    assert hook(lab, "github/1/wrong/", github(), **ping).status_code == 403
    assert hook(lab, f"github/{where.replace('1/', '9/', 1)}/", github()).status_code == 404
    lab.project("second")  # has no addresses yet
    assert hook(lab, "github/2//", github()).status_code in (403, 404)
    assert sources(lab) == []


def test_a_new_secret_ends_the_old_addresses(bench: Bench) -> None:
    package(bench.lab)
    old = key(bench.lab)
    new = key(bench.lab)
    assert hook(bench.lab, f"custom/{old}/tools/").status_code == 403
    assert hook(bench.lab, f"custom/{new}/tools/").text == "1\n"


def test_a_custom_script_gets_what_the_webhook_was_sent(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        lab.project(chroots=[FEDORA])
        body = {"script": "#!/bin/sh\ncat hook_payload"}
        assert lab.api("POST", "/package/add/admin/hello/tools/custom", body).status_code == 200
        where = key(lab)
        assert hook(lab, f"custom/{where}/nothing/", {}).status_code == 404
        sent = lab.client.post(f"/webhooks/custom/{where}/tools/", content=b"any\0thing")
        assert sent.text == "1\n"
        task = lab.back("get-srpm-build-task/1")
        source = json.loads(task["source_json"])
        assert source["hook_data"] is True
        kept = f"/tmp/{source['tmp']}/hook_payload"
        assert lab.client.get(kept).content == b"any\0thing"
        first_start(lab.config)  # a restart does not sweep it away
        assert lab.client.get(kept).status_code == 200
        lab.report(1, status=int(Status.FAILED), failure="x")
        assert lab.client.get(kept).status_code == 404
        where = where.partition("/")[2]
        sent = lab.client.post(f"/webhooks/custom-dir/admin/hello:pr:7/{where}/tools/")
        assert sent.text == "2\n"
        assert lab.client.get("/api_3/build/2").json()["project_dirname"] == "hello:pr:7"
        bad = lab.client.post(f"/webhooks/custom-dir/admin/hello:../{where}/tools/")
        assert bad.status_code in (400, 404)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("https://h/a/b", True),
        ("http://h/a/b.git/", True),
        ("git@h:a/b.git", True),
        ("ssh://git@h/a/b", True),
        ("https://token@h/a/b.git", True),
        ("https://h/a/b2", False),
        ("https://other/a/b", False),
    ],
)
def test_addresses_of_one_repository(one: str, same: bool) -> None:
    push = pushes.Push(clone_urls=(one,), ref="main", commit="abcdef1")
    assert pushes.concerns(push, "x", {"clone_url": "https://h/a/b.git"}) is same
