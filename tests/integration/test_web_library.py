"""The methods of the client library `copr.v3`, unmodified, against the embedded frontend.

Those that send files leave them open, which is an error here: `test_web_script` has copr-cli
call them, in a process of its own.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from backend.web import accounts
from backend.web.store import database_url, make_engine
from tests.integration.coprcli import Server, running
from tests.unit.test_web_lab import CHROOTS, token_of

FEDORA, DEBIAN = CHROOTS
HELLO = ("admin", "hello")
pytestmark = pytest.mark.coprcli


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("library")) as server:
        yield server


def client_of(server: Server, user: str, login: str, token: str) -> Any:
    v3 = pytest.importorskip("copr.v3")
    config = {"username": user, "login": login, "token": token, "encrypted": False}
    return v3.Client(config | {"copr_url": server.config.listen_url})


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return client_of(server, "admin", *token_of(server.config))


def new_user(server: Server, name: str) -> Any:
    engine = make_engine(database_url(server.config)).execution_options(copr_write=True)
    with Session(engine) as session, session.begin():
        made = accounts.add(session, name, 1)
    engine.dispose()
    return client_of(server, name, made.login, made.token)


def acknowledge(server: Server) -> None:
    """Play the backend: all that is to be stopped has stopped."""
    for task in server.http.get("/backend/build-tasks/cancel-requests/").json():
        server.post(f"build-tasks/canceled/{task}", True)


def refused(call: Any, *arguments: Any, says: str, **more: Any) -> None:
    exceptions = pytest.importorskip("copr.v3.exceptions")
    with pytest.raises(exceptions.CoprException, match=says):
        call(*arguments, **more)


def ids(items: Any) -> list[int]:
    return [item.id for item in items]


@pytest.fixture(scope="module", autouse=True)
def hello(server: Server, client: Any) -> None:
    """A project with a finished build, number 1, and one in a side directory, number 2."""
    client.project_proxy.add(*HELLO, [FEDORA, DEBIAN], description="words")
    url = "http://x/h.src.rpm"
    client.build_proxy.create_from_url(*HELLO, url)
    server.build(1, 1)
    client.build_proxy.create_from_url(*HELLO, url, project_dirname="hello:pr:1")
    facts = {"pkg_name": "tool", "pkg_version": "1-1", "srpm_url": url}
    server.report(2, None, 1, **facts)
    for chroot in CHROOTS:
        server.report(2, chroot, 0)


def test_base(server: Server, client: Any) -> None:
    assert client.base_proxy.home().version == 3
    assert client.base_proxy.auth_check().name == "admin"
    assert client.base_proxy.auth_username() == "admin"
    other = new_user(server, "renewer")
    token = other.base_proxy.new_api_token()
    assert {"api_login", "api_token", "expiration"} <= token.keys()
    refused(other.base_proxy.auth_check, says="Login invalid/expired")
    renewed = client_of(server, "renewer", token.api_login, token.api_token)
    assert renewed.base_proxy.auth_check().name == "renewer"
    assert set(client.mock_chroot_proxy.get_list()) >= set(CHROOTS)


def test_projects(client: Any) -> None:
    proxy = client.project_proxy
    more = {"repo_priority": 9, "bootstrap": "on", "delete_after_days": 3, "fedora_review": True}
    made = proxy.add("admin", "other", [FEDORA], additional_repos=["http://x/y/"], **more)
    assert (made.full_name, made.repo_priority, made.bootstrap) == ("admin/other", 9, "on")
    assert proxy.add("admin", "other", [FEDORA], exist_ok=True).id == made.id
    refused(proxy.add, "admin", "other", [FEDORA], says="already have a project")
    refused(proxy.add, "admin", "pulpy", [FEDORA], storage="pulp", says="storage")
    refused(proxy.add, "nobody", "other", [FEDORA], says="not allowed")
    edited = proxy.edit("admin", "other", chroots=[FEDORA, DEBIAN], additional_repos=[])
    assert (set(edited.chroot_repos), edited.additional_repos) == (set(CHROOTS), [])
    assert proxy.get("admin", "other").id == made.id
    assert made.id in ids(proxy.get_list("admin"))
    assert made.id in ids(proxy.get_list())
    assert ids(proxy.get_list("admin", {"limit": 1, "order": "name"})) == [1]
    assert ids(proxy.search("admin/oth")) == [made.id]
    assert proxy.regenerate_repos("admin", "other").full_name == "admin/other"
    assert proxy.fork("admin", "other", "admin", "copy").full_name == "admin/copy"
    refused(proxy.fork, "admin", "other", "admin", "copy", says="--confirm")
    assert proxy.fork("admin", "other", "admin", "copy", confirm=True).name == "copy"
    assert proxy.delete("admin", "copy").name == "copy"
    refused(proxy.get, "admin", "copy", says="does not exist")


def test_permissions(server: Server, client: Any) -> None:
    helper, mine = new_user(server, "helper"), client.project_proxy
    theirs = helper.project_proxy
    assert theirs.can_build_in("helper", *HELLO) is False
    refused(helper.build_proxy.create_from_url, *HELLO, "http://x/h.src.rpm", says="not allowed")
    theirs.request_permissions(*HELLO, {"builder": True})
    asked = mine.get_permissions(*HELLO).permissions
    assert asked == {"helper": {"admin": "nothing", "builder": "request"}}
    mine.set_permissions(*HELLO, {"helper": {"builder": "approved"}})
    assert theirs.can_build_in("helper", *HELLO) is True
    theirs.request_permissions(*HELLO, {"builder": False})
    assert theirs.can_build_in("helper", *HELLO) is False
    refused(theirs.set_permissions, *HELLO, {"helper": {"admin": "approved"}}, says="Only owners")
    refused(theirs.delete, *HELLO, says="Only owners")
    refused(mine.set_permissions, *HELLO, {"nobody": {"admin": "approved"}}, says="No such user")


def test_chroots(client: Any) -> None:
    proxy, where = client.project_chroot_proxy, (*HELLO, FEDORA)
    edited = proxy.edit(
        *where, additional_packages="gcc  make", additional_modules="perl:5.30,!ruby:2",
        with_opts="a b", bootstrap_image="x/y:1", isolation="simple",
    )  # fmt: skip
    assert edited.additional_modules == ["perl:5.30", "!ruby:2"]
    assert (edited.additional_packages, edited.with_opts) == (["gcc", "make"], ["a", "b"])
    assert proxy.get(*where).isolation == "simple"
    config = proxy.get_build_config(*where)
    assert (config.isolation, config.chroot) == ("simple", FEDORA)
    assert (config.bootstrap, config.bootstrap_image) == ("custom_image", "x/y:1")
    again = proxy.edit(*where, reset_fields=["with_opts", "bootstrap"])
    assert (again.with_opts, again.comps_name) == ([], None)
    refused(proxy.edit, *where, reset_fields=["nonsense"], says="invalid attribute")
    refused(proxy.get, *HELLO, "fedora-1-x86_64", says="No mock chroot")


def test_builds(server: Server, client: Any) -> None:
    proxy, chroots = client.build_proxy, client.build_chroot_proxy
    assert proxy.get(1).state == "succeeded"
    assert proxy.get(2).project_dirname == "hello:pr:1"
    assert proxy.get_source_chroot(1).state == "succeeded"
    source = proxy.get_source_build_config(1)
    assert source.source_json == {"url": "http://x/h.src.rpm"}
    assert set(proxy.get_built_packages(1)) >= set(CHROOTS)
    assert [item.name for item in chroots.get_list(1)] == sorted(CHROOTS)
    assert chroots.get(1, FEDORA).state == "succeeded"
    assert chroots.get_build_config(1, FEDORA).chroot == FEDORA
    assert chroots.get_built_packages(1, FEDORA).packages == []
    options = {"chroots": [FEDORA], "background": True, "timeout": 60, "enable_net": True}
    assert proxy.check_before_build(*HELLO, buildopts={**options, "progress_callback": None})
    made = [
        *proxy.create_from_urls(*HELLO, ["http://x/a.src.rpm", "http://x/b.spec"]),
        proxy.create_from_scm(*HELLO, "https://x/y", scm_type="svn", buildopts=options),
        proxy.create_from_distgit(*HELLO, "bash", namespace="forks/me", distgit="fedora"),
        proxy.create_from_pypi(*HELLO, "requests", "1.0", "fedora", [3]),
        proxy.create_from_rubygems(*HELLO, "rake"),
        proxy.create_from_custom(*HELLO, "#!/bin/sh\n", FEDORA, ["git"], "out", ["http://x/"]),
    ]
    numbers = ids(made)
    every = proxy.get_list(*HELLO)
    assert set(ids(every)) >= {1, 2, *numbers}
    assert ids(proxy.get_list(*HELLO, "hello", "succeeded")) == [1]
    some = proxy.get_list(*HELLO, pagination={"limit": 2, "order": "id", "order_type": "DESC"})
    assert ids(some) == ids(every)[:-3:-1]
    pages = pytest.importorskip("copr.v3.pagination")
    start = proxy.get_list(*HELLO, pagination={"limit": 3})
    assert ids(pages.all_pages(start)) == ids(every)
    assert [proxy.cancel(number).state for number in numbers] == ["canceled"] * len(numbers)
    acknowledge(server)
    assert proxy.delete(numbers[0]).id == numbers[0]
    assert proxy.delete_list(numbers[1:]).builds == numbers[1:]
    refused(proxy.get, numbers[-1], says="does not exist")


def test_packages_and_webhooks(server: Server, client: Any) -> None:
    proxy = client.package_proxy
    scm = {"clone_url": "https://x/y.git", "max_builds": 3}
    made = proxy.add(*HELLO, "tools", "scm", scm)
    assert (made.source_type, made.source_dict["clone_url"]) == ("scm", "https://x/y.git")
    assert proxy.edit(*HELLO, "tools", "scm", {"spec": "a.spec"}).source_dict["spec"] == "a.spec"
    kept = proxy.edit(*HELLO, "tools", source_dict={"committish": "main"})
    assert (kept.source_dict["spec"], kept.source_dict["committish"]) == ("a.spec", "main")
    assert proxy.edit(*HELLO, "tools", "rubygems", {"gem_name": "rake"}).source_type == "rubygems"
    # What the real frontend answers to the text "False" (captures 17 and 18).
    assert proxy.get(*HELLO, "hello").builds["latest"]["id"] == 1
    listed = {package.name: package.builds for package in proxy.get_list(*HELLO)}
    assert listed["hello"] == {"latest": None, "latest_succeeded": None}
    more = {"with_latest_build": True, "with_latest_succeeded_build": True}
    listed = {package.name: package.builds for package in proxy.get_list(*HELLO, **more)}
    assert listed["hello"]["latest_succeeded"]["id"] == 1
    assert listed["tool"]["latest_succeeded"] is None
    build = proxy.build(*HELLO, "tools", {"chroots": [FEDORA]}, "hello:pr:1")
    assert build.project_dirname == "hello:pr:1"
    client.build_proxy.cancel(build.id)
    acknowledge(server)
    assert proxy.reset(*HELLO, "tools").source_type == "unset"
    refused(proxy.build, *HELLO, "tools", says="Unset default source")
    assert proxy.delete(*HELLO, "tools").name == "tools"
    assert client.webhook_proxy.generate(*HELLO).webhook_secret


def test_monitor(server: Server, client: Any) -> None:
    proxy = client.monitor_proxy
    (package,) = proxy.monitor(*HELLO).packages
    assert (package["name"], set(package["chroots"])) == ("hello", set(CHROOTS))
    fields = ["url_build", "url_build_log", "url_backend_log"]
    (side,) = proxy.monitor(*HELLO, "hello:pr:1", fields).packages
    chroot = json.loads(json.dumps(side["chroots"][FEDORA]))
    assert chroot["url_build"] == f"{server.config.listen_url}/coprs/build/2"
    assert chroot["url_build_log"].endswith("/00000002-hello/builder-live.log.gz")
    refused(proxy.monitor, *HELLO, "hello:no", says="doesn't exist in 'admin/hello'")
    refused(proxy.monitor, *HELLO, None, ["b", "a"], says=r"argument\(s\): a, b")
