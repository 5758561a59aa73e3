"""Pages and forms: what people see, and what a browser may do for whom."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.web import session
from backend.web.models import Build
from tests.unit.test_web_lab import SRPM, Lab, running_lab

FEDORA = "fedora-41-x86_64"
EVIL = "<script>alert(1)</script>"


def failed_build(lab: Lab, **values: object) -> int:
    lab.project(chroots=[FEDORA])
    build = lab.submit()
    lab.source_done(build)
    line = {"line": 7, "offset": 99, "text": f"a.c:1: error: {EVIL}"}
    verdict = {"kind": "compile", "lines": [line]}
    lab.report(build, FEDORA, status=0, failure=f"make {EVIL}", triage=verdict)
    return build


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path) as made:
        yield made


def log_in(lab: Lab) -> tuple[dict[str, str], str]:
    """Headers with the cookie of a session, and its form token."""
    login, token = lab.auth
    reply = lab.client.post("/login", data={"login": login, "token": token})
    assert reply.status_code == 303
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert token not in cookie
    lab.client.forget_cookies()
    headers = {"Cookie": cookie.partition(";")[0]}
    page = lab.client.get("/", headers=headers).text
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
    assert found
    return headers, found[1]


def test_the_build_page_says_what_failed_and_where(lab: Lab) -> None:
    build = failed_build(lab)
    page = lab.client.get(f"/coprs/build/{build}").text
    assert "The package did not compile." in page
    assert f'href="/coprs/build/{build}/log/{FEDORA}?offset=99"' in page
    assert '<li value="7">' in page


@pytest.mark.parametrize("path", ["/", "/coprs/admin/hello/", "/coprs/build/1", "/feed.atom"])
def test_nothing_of_a_build_becomes_markup(lab: Lab, path: str) -> None:
    failed_build(lab)
    reply = lab.client.get(path)
    assert reply.status_code == 200
    assert "&lt;script&gt;" in reply.text
    assert "<script>alert" not in reply.text


def test_logs_and_searches_do_not_become_markup(lab: Lab) -> None:
    build = failed_build(lab)
    top = lab.config.destdir / f"admin/hello/{FEDORA}/{build:08d}-hello"
    top.mkdir(parents=True)
    (top / "builder-live.log").write_text(f"{EVIL}\n\x1b[31m\0</pre>" * 3)
    for path in (f"/coprs/build/{build}/log/{FEDORA}", f"/search?q={EVIL}"):
        reply = lab.client.get(path)
        assert reply.status_code == 200
        assert "<script>alert" not in reply.text
        assert "script-src 'self'" in reply.headers["content-security-policy"]


def test_a_project_and_a_build_made_and_canceled_with_forms(lab: Lab) -> None:
    headers, token = log_in(lab)
    fields = {"name": "shop", f"chroot-{FEDORA}": "on", "form_token": token}
    reply = lab.client.post("/new", data=fields, headers=headers)
    assert reply.headers["location"] == "/coprs/admin/shop/"
    assert lab.client.get("/api_3/project?ownername=admin&projectname=shop").json()[
        "chroot_repos"
    ].keys() == {FEDORA}
    files = {"pkgs": ("hello-2.8-1.src.rpm", SRPM, "application/x-rpm")}
    where = "/coprs/admin/shop/upload"
    reply = lab.client.post(f"{where}?form_token={token}", files=files, headers=headers)
    assert reply.status_code == 303, reply.text
    assert lab.state(1) == "pending"
    fields = {"form_token": token}
    assert lab.client.post("/coprs/build/1/cancel", data=fields, headers=headers).is_redirect
    assert lab.state(1) == "canceled"


def test_a_refused_project_is_shown_again_to_be_corrected(lab: Lab) -> None:
    headers, token = log_in(lab)
    fields = {"name": "a b", "description": f"wörter {EVIL}", "form_token": token}
    reply = lab.client.post("/new", data={**fields, f"chroot-{FEDORA}": "on"}, headers=headers)
    assert reply.status_code == 400
    assert "Name must contain only letters" in reply.text
    assert 'value="a b"' in reply.text
    assert "wörter &lt;script&gt;" in reply.text
    assert re.findall(r'name="chroot-([^"]+)" checked', reply.text) == [FEDORA]
    reply = lab.client.post("/new", data={**fields, "name": "shop"}, headers=headers)
    assert (reply.status_code, "at least one chroot" in reply.text) == (400, True)
    assert lab.api("GET", "/project/list").json()["items"] == []


def test_many_chroots_leave_the_page_short(lab: Lab) -> None:
    """How to install from each is folded; what failed is linked first."""
    debian = "debian-12-x86_64"
    lab.project(chroots=[FEDORA, debian])
    assert "<details>" in lab.client.get("/coprs/admin/hello/").text
    lab.project("single", chroots=[FEDORA])
    assert "<details open>" in lab.client.get("/coprs/admin/single/").text
    build = lab.submit()
    lab.source_done(build)
    lab.report(build, FEDORA, status=0, failure="bad")
    lab.report(build, debian, status=1)
    page = lab.client.get(f"/coprs/build/{build}").text
    assert "Not started yet" not in page
    assert f'id="task-{FEDORA}"' in page
    assert re.findall(r'Failed: <a href="#task-([^"]+)"', page) == [FEDORA]


def test_a_refused_login_keeps_the_name_but_no_token(lab: Lab) -> None:
    reply = lab.client.post("/login", data={"login": f'jdoe"{EVIL}', "token": "se-cret"})
    assert reply.status_code == 401
    assert 'value="jdoe&#34;&lt;script&gt;' in reply.text
    assert "se-cret" not in reply.text
    assert "set-cookie" not in reply.headers


def test_what_a_project_says_of_itself(lab: Lab) -> None:
    about = {"homepage": "javascript:alert(1)", "contact": "https://x.example/?a=1&b=2"}
    lab.project(instructions=f"first\nthen {EVIL}", **about)
    page = lab.client.get("/coprs/admin/hello/").text
    assert "javascript:alert(1)" in page
    assert 'href="javascript' not in page
    assert 'href="https://x.example/?a=1&amp;b=2"' in page
    assert "first\nthen &lt;script&gt;" in page


def test_lists_say_how_long_ago_and_how_long(lab: Lab) -> None:
    build = failed_build(lab)
    page = lab.client.get("/").text
    assert re.search(r'<time datetime="[^"]+" title="[^"]+ UTC">(just now|\d+ s ago)</time>', page)
    ctx = lab.app.state.context
    with ctx.writing() as store:
        found = store.get(Build, build)
        found.submitted_on -= 3 * 24 * 3600
        found.started_on = found.submitted_on
    page = lab.client.get("/").text
    assert ">3 d ago</time>" in page
    assert re.search(r"took 3 d", page)
    with ctx.writing() as store:
        store.get(Build, build).submitted_on -= 30 * 24 * 3600
    assert not re.search(r"ago</time>", lab.client.get("/").text)


def test_a_build_is_submitted_again(lab: Lab) -> None:
    build = failed_build(lab)
    headers, token = log_in(lab)
    fields = {"form_token": token}
    reply = lab.client.post(f"/coprs/build/{build}/resubmit", data=fields, headers=headers)
    assert reply.status_code == 303, reply.text
    assert lab.state(build + 1) == "pending"


ACTIONS = ["/new", "/logout", "/coprs/build/1/cancel", "/coprs/build/1/resubmit",
           "/coprs/admin/hello/submit"]  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS)
def test_forms_are_refused_without_session_token_or_from_elsewhere(lab: Lab, action: str) -> None:
    lab.project()
    lab.submit()
    headers, token = log_in(lab)
    fields = {"form_token": token, "name": "x", "urls": "http://x/y.src.rpm"}
    wrong = {**fields, "form_token": "0" * 64}
    elsewhere = {**headers, "Origin": "http://evil.example"}
    cross = {**headers, "Sec-Fetch-Site": "cross-site"}
    for given, sent, status in (
        ({}, fields, 401),
        (headers, wrong, 403),
        (headers, {**fields, "form_token": ""}, 403),
        (elsewhere, fields, 403),
        (cross, fields, 403),
    ):
        reply = lab.client.post(action, data=sent, headers=given)
        assert reply.status_code == status
    assert lab.client.get(action, headers=headers).status_code in (200, 404, 405)
    assert lab.state(1) == "pending"
    assert lab.client.get("/api_3/project?ownername=admin&projectname=x").status_code == 404


def test_an_upload_without_the_token_is_refused_before_it_is_read(lab: Lab) -> None:
    lab.project()
    headers, _ = log_in(lab)
    files = {"pkgs": ("hello-2.8-1.src.rpm", SRPM, "application/x-rpm")}
    reply = lab.client.post("/coprs/admin/hello/upload", files=files, headers=headers)
    assert reply.status_code == 403
    assert not (lab.config.statedir / "uploads").exists()


def test_wrong_and_forged_sessions_are_nobody(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    login, token = lab.auth
    for given in ({"login": login, "token": "no"}, {"login": "no", "token": token}):
        reply = lab.client.post("/login", data=given)
        assert reply.status_code == 401
        assert "set-cookie" not in reply.headers
    headers, _ = log_in(lab)
    value = headers["Cookie"].partition("=")[2]
    name, end, proof = value.split(".")
    forged = [
        f"{name}.{int(end) + 1}.{proof}",
        f"{name}.{end}.{proof[:-1]}",
        f"{name}.{end}.",
        f"{name}.x.x",
        f"x.{end}.{proof}",
        "." * 99,
    ]
    for cookie in forged:
        given = {"Cookie": f"{session.COOKIE}={cookie}"}
        assert "Log in" in lab.client.get("/", headers=given).text
    later = time.time() + session.LASTS + 1
    monkeypatch.setattr("time.time", lambda: later)
    assert "Log in" in lab.client.get("/", headers=headers).text


def test_other_peoples_projects_are_not_changed_by_forms(tmp_path: Path) -> None:
    with running_lab(tmp_path) as lab:
        failed_build(lab)
        before = lab.auth
        from sqlalchemy.orm import Session

        from backend.web.models import User
        from backend.web.store import database_url, hash_token, make_engine

        engine = make_engine(database_url(lab.config))
        with Session(engine) as store, store.begin():
            store.add(User(name="eve", login="eve-login", token_hash=hash_token("eves-token")))
        engine.dispose()
        lab.auth = ("eve-login", "eves-token")
        headers, token = log_in(lab)
        fields = {"form_token": token, "urls": "http://x/y.src.rpm"}
        for action in ("/coprs/build/1/cancel", "/coprs/build/1/resubmit",
                       "/coprs/admin/hello/submit"):  # fmt: skip
            assert lab.client.post(action, data=fields, headers=headers).status_code == 403
        assert "Build again" not in lab.client.get("/coprs/build/1", headers=headers).text
        lab.auth = before
        assert lab.client.get("/coprs/build/2").status_code == 404


def test_builds_and_packages_of_a_project_are_paged(lab: Lab) -> None:
    lab.project(chroots=[FEDORA])
    for _ in range(35):
        lab.source_done(lab.submit())
    page = lab.client.get("/coprs/admin/hello/").text
    assert 'href="/coprs/build/35"' in page
    assert "?before=6#builds" in page
    older = lab.client.get("/coprs/admin/hello/?before=6").text
    assert 'href="/coprs/build/5"' in older
    assert "Older" not in older


def test_search_finds_projects_packages_and_builds(lab: Lab) -> None:
    failed_build(lab)
    for words in ("hel", "admin/", "admin/he", "adm"):
        assert "/coprs/admin/hello/" in lab.client.get("/search", params={"q": words}).text
    for words in ("1", "hello"):
        assert "/coprs/build/1" in lab.client.get("/search", params={"q": words}).text
    for words in ("%", "_", "zzz", "\\", "9" * 30):
        assert "Nothing is called" in lab.client.get("/search", params={"q": words}).text
    assert "Type the name" in lab.client.get("/search").text
