"""The embedded frontend on PostgreSQL: the same requests, the group-commit writer, migrations,
and moving there from SQLite."""

import asyncio
import configparser
import os
import pwd
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from backend import cli
from backend.web import schema
from backend.web.models import Base
from backend.web.store import make_engine
from tests.conftest import wait_until
from tests.unit.test_web_lab import CHROOTS, Lab, running_lab

pytestmark = pytest.mark.postgresql
FEDORA, DEBIAN = CHROOTS


def programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else Path("/usr/bin")


@pytest.fixture(scope="module")
def server() -> Iterator[Engine]:
    """A server of its own on a unix socket; it refuses to be root's."""
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pg") as place:
        if user:
            os.chown(place, pwd.getpwnam(user).pw_uid, -1)
        data = Path(place, "db")
        init: list[str | Path] = [programs() / "initdb", "-D", data, "-U", "copr", "-A", "trust",
                                  "--no-sync", "-E", "UTF8", "--locale=C"]  # fmt: skip
        subprocess.run(init, check=True, capture_output=True, user=user, cwd="/")
        run: list[str | Path] = [programs() / "postgres", "-D", data, "-k", place, "-F",
                                 "-c", "listen_addresses="]  # fmt: skip
        with Path(place, "log").open("w") as log:
            process = subprocess.Popen(run, user=user, cwd="/", stdout=log, stderr=log)
            engine = make_engine(f"postgresql+psycopg://copr@/postgres?host={place}")
            try:
                wait_until(lambda: answers(engine))
                yield engine
            finally:
                engine.dispose()
                process.send_signal(signal.SIGINT)  # without waiting for its clients
                process.wait()


def answers(engine: Engine) -> bool:
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False


@pytest.fixture
def url(server: Engine) -> str:
    """An empty database."""
    name = f"t{uuid.uuid4().hex}"
    with server.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return server.url.set(database=name).render_as_string()


@pytest.fixture
def lab(url: str, tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, web__database_url=url) as lab:
        yield lab


def test_a_build_from_submit_to_delete(lab: Lab) -> None:
    lab.project(chroots=[FEDORA, DEBIAN])
    first = lab.submit()
    after = lab.submit(after_build_id=first)
    body = {"ownername": "admin", "projectname": "hello", "script": "x", "chroot": FEDORA}
    custom = lab.api("POST", "/build/create/custom", body).json()["id"]
    assert lab.tasks() == [str(first), str(custom)]
    assert lab.back("pending-jobs")[1]["chroot"] == FEDORA
    lab.source_done(first)
    assert lab.tasks() == [str(custom), f"{first}-{DEBIAN}", f"{first}-{FEDORA}"]
    for chroot in CHROOTS:
        lab.report(first, chroot, status=1)
    assert lab.state(first) == "succeeded"
    assert str(after) in lab.tasks()
    where = "ownername=admin&projectname=hello"
    for status, number in (("succeeded", first), ("pending", after)):
        items = lab.client.get(f"/api_3/build/list?{where}&status={status}").json()["items"]
        assert number in [item["id"] for item in items]
    assert lab.client.get(f"/api_3/monitor?{where}").json()["packages"][0]["name"] == "hello"
    packages = f"/api_3/package/list?{where}&with_latest_succeeded_build=True"
    found = lab.client.get(packages).json()["items"][0]
    assert found["builds"]["latest_succeeded"]["id"] == first
    assert lab.api("POST", "/project/fork/admin/hello", {"name": "copy"}).status_code == 200
    assert lab.api("PUT", f"/build/cancel/{after}").json()["state"] == "canceled"
    assert lab.api("DELETE", f"/build/delete/{first}").status_code == 200
    assert lab.client.get(f"/api_3/build/{2**40}").status_code == 404


def test_many_requests_share_commits_and_all_arrive(lab: Lab) -> None:
    lab.project()
    runner, client = lab.client._runner, lab.client._client
    body = {"ownername": "admin", "projectname": "hello", "pkgs": ["http://x/h.src.rpm"]}

    async def submit_all() -> list[int]:
        replies = await asyncio.gather(
            *(client.post("/api_3/build/create/url", json=body, auth=lab.auth) for _ in range(50))
        )
        return [reply.json()["items"][0]["id"] for reply in replies]

    assert sorted(runner.run(submit_all())) == list(range(1, 51))
    bad = lab.api("POST", "/build/create/url", body | {"chroots": ["nope"]})
    assert bad.status_code == 400
    assert lab.submit() >= 51


def test_migrations_lead_to_the_tables_of_the_models(url: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        schema.upgrade(connection, schema.HEAD)
    with engine.connect() as connection:
        options = {"version_table": schema.TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert list(compare_metadata(context, Base.metadata)) == []
    engine.dispose()


def test_from_sqlite_to_postgresql_and_back(url: str, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()

    def run(lab: Lab, *words: str, to: str = "") -> None:
        places = {key: getattr(lab.config, key) for key in ("destdir", "statedir", "rundir")}
        options = [f"backend.{key}={value}" for key, value in places.items()]
        options += [f"web.database_url={to}"] if to else []
        given = [word for option in options for word in ("-o", option)]
        assert cli.main(["-c", str(lab.config.path), *given, *words]) == 0

    builds = "/api_3/build/list?ownername=admin&projectname=hello"
    with running_lab(tmp_path / "one") as lab:
        lab.project(description="wörds")
        for _ in range(3):
            lab.submit()
        lab.source_done(1)
        before = lab.client.get(builds).json()
        run(lab, "backup", str(tmp_path / "first"))
    with running_lab(tmp_path / "two", web__database_url=url) as lab:
        run(lab, "restore", str(tmp_path / "first"), to=url)
        assert lab.client.get(builds).json() == before
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(tmp_path / "one/statedir/copr-cli.conf")
        lab.auth = (parser["copr-cli"]["login"], parser["copr-cli"]["token"])
        assert lab.submit() == 4
        run(lab, "backup", str(tmp_path / "second"), to=url)
    with running_lab(tmp_path / "three") as lab:
        run(lab, "restore", str(tmp_path / "second"))
        assert len(lab.client.get(builds).json()["items"]) == 4
