"""What goes out to receivers of webhooks: where to, and how an answer is read."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from backend.web import outbound
from tests.conftest import wait_until
from tests.unit.hookbench import FEDORA, finished
from tests.unit.test_web_lab import running_lab


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
