"""Source packages over the network: addresses, downloads, uploads that lie here."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.constants import Source
from backend.exceptions import BuildError, Canceled, FrontendError
from backend.job import SourceTask
from backend.sources import download, fetch, file_name, source_url, stored_upload
from tests.conftest import wait_until
from tests.serving import served
from tests.unit.answers import Server


@pytest.fixture
def server() -> Iterator[Server]:
    with served(Server()) as server:
        yield server


def source(url: object, kind: int = 1) -> SourceTask:
    return SourceTask(
        task_id="1", build_id=1, owner="j", project="p", dirname="p",
        source_type=Source(kind), source={"url": url},
    )  # fmt: skip


@pytest.mark.parametrize("url", [None, 7, "ftp://x/a.src.rpm", "http://x/a.rpm", "file:///etc/x"])
def test_addresses_that_are_no_source_packages(url: object) -> None:
    with pytest.raises(BuildError):
        source_url(source(url))


def test_unsupported_source_types_are_named() -> None:
    with pytest.raises(BuildError, match="scm"):
        source_url(source("http://x/a.src.rpm", 8))


def test_download_and_its_limit(server: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.server_port}/a.src.rpm"
    server.body = b"x" * 1000
    download(url, tmp_path / "a", 1000)
    assert (tmp_path / "a").read_bytes() == server.body
    with pytest.raises(BuildError, match="larger than 999"):
        download(url, tmp_path / "b", 999)


def test_download_can_be_canceled_in_the_middle(tmp_path: Path) -> None:
    def check() -> None:
        raise Canceled("enough")

    with socket.create_server(("127.0.0.1", 0)) as halting:
        over = threading.Event()

        def serve_half() -> None:
            peer, _ = halting.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.")
                over.wait()  # the rest never comes

        server = threading.Thread(target=serve_half)
        server.start()
        url = f"http://127.0.0.1:{halting.getsockname()[1]}/a"
        try:
            with pytest.raises(Canceled):
                download(url, tmp_path / "a", 10**7, check, timeout=300)
        finally:
            over.set()
        server.join()


def test_a_silent_download_can_be_canceled(tmp_path: Path) -> None:
    def check() -> None:
        raise Canceled("enough")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(Canceled):  # that it is silent would be a FrontendError
            download(url, tmp_path / "a", 10, check, timeout=300)
        peer, _ = silent.accept()
        with peer:  # what came too late is not written
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            wait_until(lambda: not [t for t in threading.enumerate() if t.name == "download"], 5)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(("status", "error"), [(404, BuildError), (503, FrontendError)])
def test_download_refused(
    server: Server, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    server.status = status
    with pytest.raises(error, match=str(status)):
        download(f"http://127.0.0.1:{server.server_port}/a.src.rpm", tmp_path / "a", 10)


def test_a_users_dead_server_fails_the_build_and_a_dead_frontend_does_not(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/a-1-1.src.rpm"
    with pytest.raises(BuildError, match="check the address") as caught:
        fetch(source(url), tmp_path / "a", 10)
    assert "refused" in str(caught.value)
    assert "HTTPConnection" not in str(caught.value)
    with pytest.raises(FrontendError):
        fetch(source(url, 2), tmp_path / "a", 10)


def test_an_upload_is_read_where_it_lies(tmp_path: Path) -> None:
    stored = tmp_path / "uploads/abc1/a~1.src.rpm"
    stored.parent.mkdir(parents=True)
    stored.touch()
    (tmp_path / "uploads/abc1/link.src.rpm").symlink_to(stored)
    (tmp_path / "a.src.rpm").touch()
    home = "http://127.0.0.1:5000"

    def look(path: str) -> Path | None:
        return stored_upload(f"{home}{path}", home, tmp_path)

    assert look("/tmp/abc1/a~1.src.rpm") == stored
    assert look("/tmp/abc1/a%7E1.src.rpm") == stored
    for path in (
        "/tmp/../a.src.rpm",
        "/tmp/abc1/link.src.rpm",
        "/tmp/abc1/b.src.rpm",
        "/x/a.src.rpm",
    ):
        assert look(path) is None
    assert look("/tmp/%2e%2e/a.src.rpm") is None
    assert stored_upload(f"{home}/tmp/abc1/a~1.src.rpm", "http://x", tmp_path) is None


def test_file_names_of_urls_are_harmless() -> None:
    assert file_name("http://x/y/a-1.src.rpm?z") == "a-1.src.rpm"
    assert file_name("http://x/%2e%2e%2f%00%20.src.rpm") == "__.src.rpm"
    assert file_name("http://x/") == "source.src.rpm"
