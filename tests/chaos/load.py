"""The users of a chaos run: they submit tiny packages, and change their minds."""

import contextlib
import json
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
import urllib3
from sqlalchemy.orm import Session

from backend.config import load
from backend.web.models import User
from backend.web.store import database_url, hash_token, make_engine
from tests.chaos.arena import Arena

OWNERS = ("admin", "ada", "bob")
TOKEN = "chaos-token"
PROJECTS = tuple((owner, f"p{number}") for owner in OWNERS for number in (1, 2))
_SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: chaos
License: MIT
BuildArch: noarch
%description
%{{summary}}.
{subs}
%prep
%build
{build}
%install
mkdir -p %{{buildroot}}/usr/share/{name}
head -c 32 /dev/urandom | od > %{{buildroot}}/usr/share/{name}/file
%files
/usr/share/{name}
"""
_SUB = "%package {0}\nSummary: part\n%description {0}\nPart.\n%files {0}\n"
#: Kind → (%build, subpackages, what must become of it when nobody cancels it).
KINDS: dict[str, tuple[str, int, str]] = {
    "quick": ("", 0, "succeeded"),
    "multi": ("", 4, "succeeded"),
    "second": ("sleep 1", 0, "succeeded"),
    "noisy": ("for i in $(seq 3000); do echo line $i of a noisy build; done", 1, "succeeded"),
    "tree": ("sleep 300 & (setsid sleep 300 &) ; sleep 0.3", 0, "succeeded"),
    "broken": ("echo about to fail; false", 0, "failed"),
    "slowbroken": ("sleep 0.7; exit 7", 0, "failed"),
}
_OFTEN = ("quick",) * 5 + ("multi",) * 2 + tuple(KINDS)


def make_srpms(where: Path) -> dict[str, Path]:
    """One source package of each kind."""
    import subprocess

    where.mkdir(parents=True)
    found = {}
    for kind, (build, subs, _) in KINDS.items():
        spec = where / f"{kind}.spec"
        parts = "".join(_SUB.format(f"part{number}") for number in range(subs))
        spec.write_text(_SPEC.format(name=kind, build=build, subs=parts))
        command = ["rpmbuild", "-bs", "--nodeps", "--define", f"_topdir {where}", str(spec)]
        subprocess.run(command, check=True, capture_output=True)
        found[kind] = where / "SRPMS" / f"{kind}-1-1.src.rpm"
    return found


@dataclass
class Users:
    """Submit `count` builds from a thread; `api` speaks for any owner."""

    arena: Arena
    count: int
    srpms: dict[str, Path]
    kinds: dict[int, str] = field(default_factory=dict)
    canceled: set[int] = field(default_factory=set)
    troubles: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.arena.seed}-users")
        self._http = urllib3.PoolManager(retries=False, timeout=20, maxsize=4)
        self.done = threading.Event()

    def prepare(self) -> bool:
        """Make owners and projects; True when that is done."""
        state = self.arena.statedir if self.arena.embedded else self.arena.disk / "web"
        conf = "copr-be.conf" if self.arena.embedded else "web.conf"
        assert (state / "copr-cli.conf").exists(), "its first start is not over"
        engine = make_engine(database_url(load(self.arena.top / conf)))
        writing = engine.execution_options(copr_write=True)  # waits for others from its start
        with Session(writing) as session, session.begin():
            for name in OWNERS:
                user = session.scalar(sqlalchemy.select(User).where(User.name == name))
                user = user or User(name=name)
                user.login, user.token_hash = f"login-{name}", hash_token(TOKEN)
                session.add(user)
        engine.dispose()
        chroots = list(self.api("admin", "GET", "mock-chroots/list"))
        for owner, name in PROJECTS:
            self.api(owner, "POST", f"project/add/{owner}", {"name": name, "chroots": chroots})
        return True

    def api(self, owner: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        """Call API v3; raises OSError when it is not answered with 200."""
        headers = urllib3.make_headers(basic_auth=f"login-{owner}:{TOKEN}")
        headers["Connection"] = "close"
        if body is not None:
            more["body"] = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        url = f"http://127.0.0.1:{self.arena.web_port}/api_3/{path}"
        try:
            reply = self._http.request(method, url, headers=headers, **more)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"{path}: {error}") from error
        if reply.status != 200:
            raise OSError(f"{path}: {reply.status} {reply.data[:200]!r}")
        return reply.json()

    def start(self) -> None:
        """Submit in the background; `done` is set when nearly all of it is finished."""
        threading.Thread(target=self._submit_all, daemon=True).start()

    def _submit_all(self) -> None:
        try:
            while len(self.kinds) < self.count and not self.arena.stopping.is_set():
                # Bursts and pauses; never so many that the killer has done before they run.
                if len(self.kinds) - self._finished() > 40:
                    self.arena.stopping.wait(0.5)
                    continue
                for _ in range(min(self._random.randint(1, 12), self.count - len(self.kinds))):
                    self._submit()
                self._change_mind()
                self.arena.stopping.wait(self._random.uniform(0, 1.5))
            while len(self.kinds) - self._finished() > 3 and not self.arena.stopping.is_set():
                self._change_mind()
                self.arena.stopping.wait(1)
        finally:
            self.done.set()

    def _finished(self) -> int:
        with contextlib.suppress(OSError):
            return sum(item["state"] in FINAL for item in self.builds())
        return 0

    def _submit(self) -> None:
        owner, project = self._random.choice(PROJECTS)
        kind = self._random.choice(_OFTEN)
        srpm = self.srpms[kind]
        request = {"ownername": owner, "projectname": project}
        fields = {
            "json": ("json", json.dumps(request), "application/json"),
            "pkgs": (srpm.name, srpm.read_bytes(), "application/x-rpm"),
        }
        try:
            answer = self.api(owner, "POST", "build/create/upload", fields=fields)
            self.kinds[int(answer["id"])] = kind
        except OSError:
            self.troubles += 1  # perhaps stored, perhaps not: either is right
            self.arena.stopping.wait(0.2)

    def _change_mind(self) -> None:
        if self._random.random() > 0.2 or not self.kinds:
            return
        newest = sorted(self.kinds)[-25:]
        for build in self._random.sample(newest, min(len(newest), 2)):
            self.cancel(build)

    def cancel(self, build: int) -> None:
        """Cancel as its owner; a refusal, because it is finished, is fine."""
        with contextlib.suppress(OSError):
            owner = self.api("admin", "GET", f"build/{build}")["ownername"]
            self.canceled.add(build)
            self.api(owner, "PUT", f"build/cancel/{build}")

    def builds(self) -> list[dict[str, Any]]:
        """All builds of all projects."""
        found: list[dict[str, Any]] = []
        for owner, name in PROJECTS:
            query = f"build/list?ownername={owner}&projectname={name}"
            found += self.api(owner, "GET", query)["items"]
        return found


FINAL = ("succeeded", "failed", "canceled", "skipped")
