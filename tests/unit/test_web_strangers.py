"""Other people's things by every route that can change something: refused, and nothing changes.

The routes are those of the application itself: a new one is in these tests from its first day.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.web.models import Base, Sample, User
from backend.web.store import database_url, hash_token, make_engine
from tests.unit.test_builder_rpmheader import package
from tests.unit.test_web_lab import SRPM, Lab, running_lab
from tests.unit.test_web_pages import log_in

FEDORA = "fedora-41-x86_64"
EVE = ("eve-login", "eves-token")
SAFE = {"GET", "HEAD", "OPTIONS"}
PLACES = {
    "ownername": "admin", "owner": "admin", "projectname": "hello", "name": "hello",
    "dirname": "hello", "chrootname": FEDORA, "package_name": "hello", "kind": "scm",
    "source_type_text": "scm", "forge": "github",
}  # fmt: skip
#: Everything that any of the routes may want of a body.
BODY: dict[str, Any] = {
    "ownername": "admin", "projectname": "hello", "project_dirname": "hello", "name": "other",
    "pkgs": ["http://x/h.src.rpm"], "builds": [1], "verify": True, "confirm": True,
    "package_name": "hello", "packagename": "hello", "source_type_text": "scm",
    "clone_url": "https://x/y", "pypi_package_name": "x", "gem_name": "x", "script": "#!/bin/sh",
    "chroot": FEDORA, "description": "eve was here", "eve": {"builder": True},
    "url": "https://example.org/", "target": "admin/hello", "target_owner": "admin",
    "with_opts": "eve",
}  # fmt: skip
#: What needs no right in somebody's project: one's own session, token and projects, and to ask.
OWN = {"/login", "/logout", "/new", "/api_3/api-token"} | {
    "/api_3/project/permissions/request/admin/hello"
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path) as made:
        made.project(chroots=[FEDORA])
        made.project("other", chroots=[FEDORA])
        build = made.submit()
        made.source_done(build)
        engine = make_engine(database_url(made.config))
        with Session(engine) as store, store.begin():
            store.add(User(name="eve", login=EVE[0], token_hash=hash_token(EVE[1])))
        engine.dispose()
        yield made


def contents(lab: Lab) -> dict[str, list[Any]]:
    """All rows of all tables but what time alone adds."""
    with lab.app.state.context.reading() as session:
        return {
            table.name: [tuple(row) for row in session.execute(select(table)).all()]
            for table in Base.metadata.sorted_tables
            if table.name != Sample.__tablename__
        }


def doors(lab: Lab) -> Iterator[tuple[str, str]]:
    """Method and address of everything that changes something."""
    for route in lab.app.state.routes:
        path = re.sub(r"\{(\w+)(:\w+)?\}", lambda m: PLACES.get(m[1], "1"), route.path)
        if path not in OWN:
            for method in sorted(route.methods - SAFE):
                yield method, path


def test_there_are_doors(lab: Lab) -> None:
    found = {path for _, path in doors(lab)}
    assert len(found) > 40
    assert {"/api_3/project/delete/admin/hello", "/coprs/build/1/cancel"} <= found


def knock(lab: Lab, method: str, path: str, token: str = "", **who: Any) -> int:
    """The status of a request with all that it may need, as this caller."""
    if path.endswith(("/upload", "/rpm-upload")):
        name, data = ("hello-2.8-1.src.rpm", SRPM)
        if path.endswith("/rpm-upload"):
            name, data = ("hello-1.0-2.noarch.rpm", package())
        files = {
            "json": ("json", json.dumps(BODY).encode(), "application/json"),
            "pkgs": (name, data, "application/x-rpm"),
        }
        sent = {"files": files, "params": {"form_token": token}}
    elif path.startswith(("/coprs/", "/new")):
        fields = {key: value for key, value in BODY.items() if isinstance(value, str)}
        more = {"urls": "http://x/h.src.rpm", "builds": "1", f"chroot-{FEDORA}": "on"}
        sent = {"data": {**fields, **more, "form_token": token}}
    else:
        sent = {"json": BODY}
    return lab.client.request(method, path, **sent, **who).status_code


def test_nobody_changes_anything(lab: Lab) -> None:
    before = contents(lab)
    answers = {(method, path): knock(lab, method, path) for method, path in doors(lab)}
    assert {door: status for door, status in answers.items() if status not in (401, 403)} == {}
    assert contents(lab) == before


def test_another_user_changes_nothing_through_the_api(lab: Lab) -> None:
    before = contents(lab)
    answers = {
        (method, path): knock(lab, method, path, auth=EVE)
        for method, path in doors(lab)
        if path.startswith("/api_3/")
    }
    assert {door: status for door, status in answers.items() if status != 403} == {}
    assert contents(lab) == before


def test_another_user_changes_nothing_with_forms(lab: Lab) -> None:
    lab.auth = EVE
    headers, token = log_in(lab)
    before = contents(lab)
    answers = {
        (method, path): knock(lab, method, path, token, headers=headers)
        for method, path in doors(lab)
        if path.startswith("/coprs/")
    }
    assert {door: status for door, status in answers.items() if status != 403} == {}
    assert contents(lab) == before


@pytest.mark.parametrize(
    "more",
    [{}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}],
)
def test_a_foreign_page_changes_nothing_in_the_owners_browser(
    lab: Lab, more: dict[str, str]
) -> None:
    """The cookie comes along; the token of the form does, too, where `more` gives the page away."""
    headers, token = log_in(lab)
    before = contents(lab)
    answers = {
        (method, path): knock(lab, method, path, token if more else "", headers={**headers, **more})
        for method, path in [*doors(lab), ("POST", "/new")]
        if path.startswith(("/coprs/", "/new"))
    }
    assert {door: status for door, status in answers.items() if status != 403} == {}
    assert contents(lab) == before


def test_a_session_is_no_key_to_the_api(lab: Lab) -> None:
    """Its requests carry no token of a form: a cookie must not be enough there."""
    headers, _ = log_in(lab)
    before = contents(lab)
    answers = {
        (method, path): knock(lab, method, path, headers=headers)
        for method, path in doors(lab)
        if path.startswith(("/api_3/", "/backend/"))
    }
    assert {door: status for door, status in answers.items() if status != 401} == {}
    assert contents(lab) == before


ESCAPES = ('"', "'", "\\", "`")


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_quote_gets_into_the_files_that_others_run(lab: Lab, escape: str) -> None:
    """`copr-cli mock-config` writes these into a file of Python, between quotes."""
    word = f"x{escape}+__import__(1)+{escape}"
    address = f"http://x/{word}"
    image = {"bootstrap": "custom_image", "bootstrap_image": word}
    project = "/project/edit/admin/hello"
    chroot = f"/project-chroot/edit/admin/hello/{FEDORA}"
    before = contents(lab)
    for path, body in (
        (project, {"repos": [address]}),
        (project, {"runtime_dependencies": [address]}),
        (project, image),
        (chroot, image),
        (chroot, {"additional_repos": address}),
        (chroot, {"additional_packages": word}),
        (chroot, {"with_opts": word}),
        (chroot, {"additional_modules": f"a:{word}"}),
    ):
        assert lab.api("PUT", path, body).status_code == 400, (path, body)
    assert contents(lab) == before
    usual = {"additional_packages": "pkgconfig(x11) perl(A::B) a[b]"}
    assert lab.api("PUT", chroot, usual).status_code == 200
