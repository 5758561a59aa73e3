"""What a real frontend has answered to copr-cli, asked again here: the same shapes and codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_web_lab import SRPM, Lab, running_lab

FILE = Path(__file__).parents[1] / "frontend/recorded/api3.json"
RECORDED: list[dict[str, Any]] = json.loads(FILE.read_text())
CHROOTS = tuple(RECORDED[24]["reply"])
#: Our own additions to the reply of `build/N`.
OWN = {"failure", "triage", "waiting"}
EDIT = {
    "additional_repos": "http://127.0.0.1:5002/extra/",
    "additional_packages": "gcc make",
    "with_opts": "x",
    "delete_comps": False,
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path, CHROOTS, web__admin_user="jdoe") as lab:
        yield lab


def differences(there: object, here: object, where: str = "") -> list[str]:
    """Keys and types that are not the same; null goes with anything."""
    if there is None or here is None:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        if where.endswith("list-200.items.chroot_repos"):  # recorded when it had fewer chroots
            return [] if there.keys() <= here.keys() else [f"{where}: {here}"]
        found = [f"{where}.{key}: only there" for key in there.keys() - here.keys()]
        found += [f"{where}.{key}: only here" for key in here.keys() - there.keys() - OWN]
        for key in there.keys() & here.keys():
            found += differences(there[key], here[key], f"{where}.{key}")
        return found
    if isinstance(there, list) and isinstance(here, list):
        if bool(there) != bool(here):
            return [f"{where}: {len(there)} there, {len(here)} here"]
        return [line for t, h in zip(there, here) for line in differences(t, h, where)]  # noqa: B905
    return [] if type(there) is type(here) else [f"{where}: {there!r} there, {here!r} here"]


def ask(lab: Lab, entry: dict[str, Any]) -> None:
    auth = ("x", "y") if entry["status"] == 401 else lab.auth
    more: dict[str, Any] = {"json": entry["body"]} if entry["body"] is not None else {}
    if entry["form"]:
        fields = {"ownername": "jdoe", "projectname": "cap1"} if "upload" in entry["path"] else EDIT
        more["files"] = {"json": ("json", json.dumps(fields).encode(), "application/json")}
        if "upload" in entry["path"]:
            more["files"]["pkgs"] = ("hello-2.8-1.src.rpm", SRPM, "application/x-rpm")
    reply = lab.client.request(entry["method"], entry["path"], auth=auth, **more)
    assert reply.status_code == entry["status"], f"{entry['name']}: {reply.text}"
    assert differences(entry["reply"], reply.json(), entry["name"]) == []


def play_backend(lab: Lab, name: str) -> None:
    """What the backend had done before that request."""
    packages = [{"name": "hello", "epoch": 0, "version": "2.8", "release": "1", "arch": "noarch"}]
    if name.startswith("05-"):
        lab.source_done(1)
        lab.report(1, "debian-12-x86_64", status=1, results={"packages": packages})
        lab.report(1, "fedora-41-x86_64", status=0)
        for chroot in ("debian-12-x86_64", "fedora-41-x86_64"):
            lab.report(1, chroot, status=1)
    elif name.startswith("10-"):
        lab.back("build-tasks/canceled/2", True)
    elif name.startswith("18-"):  # builds 3 and 4
        for number in (3, 4):
            lab.submit("cap1", ownername="jdoe", chroots=["fedora-41-x86_64"])
            lab.source_done(number)
            lab.report(number, "fedora-41-x86_64", status=1)


def test_the_replies_have_the_shapes_of_a_real_frontend(lab: Lab) -> None:
    lab.api("POST", "/project/add/jdoe", {"name": "hello"})
    for entry in RECORDED:
        play_backend(lab, entry["name"])
        ask(lab, entry)
