"""Published files, and the pages."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_web_lab import CHROOTS, Lab, running_lab

FEDORA = CHROOTS[0]
LOG = b"".join(b"line %d\n" % number for number in range(50_000))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path) as lab:
        yield lab


@pytest.fixture
def directory(lab: Lab) -> Path:
    directory = lab.config.destdir / f"admin/hello/{FEDORA}/00000001-hello"
    directory.mkdir(parents=True)
    return directory


URL = f"/results/admin/hello/{FEDORA}/00000001-hello"


@pytest.mark.parametrize("packed", [False, True])
def test_log_ranges_are_the_same_after_compression(lab: Lab, directory: Path, packed: bool) -> None:
    if packed:
        (directory / "builder-live.log.gz").write_bytes(gzip.compress(LOG))
    else:
        (directory / "builder-live.log").write_bytes(LOG)
    url = f"{URL}/builder-live.log"
    whole = lab.client.get(url)
    assert whole.content == LOG
    assert whole.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert whole.headers["Cache-Control"] == "no-store"
    size = len(LOG)
    for wanted, start, end in (
        ("bytes=0-9", 0, 10),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=400000-{size * 2}", 400_000, size),
    ):
        part = lab.client.get(url, headers={"Range": wanted})
        assert part.status_code == 206
        assert part.content == LOG[start:end]
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    beyond = lab.client.get(url, headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    head = lab.client.request("HEAD", url)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(size))


def test_nothing_outside_or_hidden_is_served(lab: Lab, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (directory / "link.log").symlink_to(tmp_path / "secret")
    (directory / "backend.log.gz").symlink_to(tmp_path / "secret")
    (directory.parent / "tree").symlink_to(tmp_path)
    (directory / ".x.rpm.tmp").write_text("half")
    os.mkfifo(directory / "fifo")
    for path in (
        f"{URL}/link.log",
        f"{URL}/backend.log",
        f"{URL}/.x.rpm.tmp",
        f"{URL}/fifo",
        f"/results/admin/hello/{FEDORA}/tree/secret",
        "/results/%2e%2e/secret",
        "/results/..%2fsecret",
        "/results/admin/%2e%2e/%2e%2e/secret",
        "/results//etc/passwd",
        "/results/%00",
        "/results/%ff",
        f"{URL}/success/",
        "/tmp/../secret",
        "/tmp/x/y.src.rpm",
    ):
        assert lab.client.get(path).status_code == 404, path
    listing = lab.client.get(f"{URL}/").text
    assert "link.log" not in listing
    assert "tmp" not in listing
    assert "fifo" not in listing


def test_listing_is_crawlable_and_escaped(lab: Lab, directory: Path) -> None:
    (directory / "a <b>&.rpm").write_bytes(b"x")
    (directory / "javascript:x").write_bytes(b"x")
    moved = lab.client.get(URL)
    assert (moved.status_code, moved.headers["Location"]) == (301, f"{URL}/")
    text = lab.client.get(f"{URL}/").text
    assert '<a href="./a%20%3Cb%3E%26.rpm">a &lt;b&gt;&amp;.rpm</a>' in text
    assert '<a href="./javascript%3Ax">' in text
    assert '<a href="./admin/">' in lab.client.get("/results/").text
    assert lab.client.get("/results").status_code == 200


def test_hostile_html_is_harmless(lab: Lab, directory: Path) -> None:
    (directory / "x.html").write_text("<script>alert(1)</script>")
    headers = lab.client.get(f"{URL}/x.html").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox;")


def test_unchanged_file_is_not_sent_again_but_repomd_is(lab: Lab, directory: Path) -> None:
    for name, status in (("a.rpm", 304), ("repomd.xml", 200)):
        (directory / name).write_bytes(b"x")
        etag = lab.client.get(f"{URL}/{name}").headers["ETag"]
        again = lab.client.get(f"{URL}/{name}", headers={"If-None-Match": etag})
        assert again.status_code == status
    changed = lab.client.get(f"{URL}/a.rpm", headers={"Range": "bytes=0-0", "If-Range": '"old"'})
    assert changed.status_code == 200


def test_pages(lab: Lab, directory: Path) -> None:
    front = lab.client.get("/")
    assert f"copr-cli --config {lab.config.web_cli_config} create hello" in front.text
    assert "script-src 'self'" in front.headers["Content-Security-Policy"]
    lab.project(description="<script>x</script>")
    assert "No build yet" in lab.client.get("/").text
    build = lab.submit(chroots=[FEDORA])
    lab.source_done(build)
    (directory / "builder-live.log").write_bytes(b"<b>hostile</b> \xff\n")
    lab.report(build, FEDORA, status=3)
    assert f'href="/coprs/build/{build}"' in lab.client.get("/").text
    page = lab.client.get(f"/coprs/build/{build}").text
    assert "&lt;b&gt;hostile" in page
    state = lab.client.get(f"/coprs/build/{build}/state").json()
    assert state["finished"] is False
    assert state["tasks"][1]["log"] == f"{URL}/builder-live.log"
    project = lab.client.get("/coprs/admin/hello/").text
    assert "&lt;script&gt;" in project
    assert "/coprs/admin/hello/repo/fedora-41/" in project
    assert lab.client.get("/coprs/admin/hello").status_code == 301
    assert lab.client.get("/coprs/build/99").status_code == 404
    for path in ("/static/style.css", "/static/live.js", "/static/icon.svg", "/healthz", "/api"):
        assert lab.client.get(path).status_code == 200


def test_repo_file(lab: Lab) -> None:
    lab.project()
    text = lab.client.get("/coprs/admin/hello/repo/fedora-41/").text
    assert "[copr:127.0.0.1:admin:hello]\n" in text
    assert "/results/admin/hello/fedora-$releasever-$basearch/\n" in text
    debian = lab.client.get("/coprs/admin/hello/repo/debian-12/x.repo").text
    assert "/debian-12-$basearch/" in debian
    assert lab.client.get("/coprs/admin/hello/repo/fedora-1/").status_code == 404
