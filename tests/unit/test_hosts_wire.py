"""Frames and values between a worker and a host, and what is shipped there."""

import ast
import io
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.builders import BuildRequest, Buildroot, Package
from backend.chroot import Chroot
from backend.config import load
from backend.hosts.bundle import bundle
from backend.hosts.order import builder_module, host_config
from backend.hosts.wire import Inbox, WireError, from_json, pack, to_json
from tests.unit import hosts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def request(**values: object) -> BuildRequest:
    base = {
        "srpm": Path("/a.src.rpm"),
        "chroot": Chroot.parse("fedora-41-x86_64"),
        "workdir": Path("/w"),
        "slot": 3,
        "timeout": 60,
        "stall_timeout": 30,
        "max_log": 1000,
    }
    return BuildRequest(**{**base, **values})  # type: ignore[arg-type]


def test_a_request_arrives_as_it_was() -> None:
    root = Buildroot(repos=({"id": "a", "priority": 5},), packages=("gcc",), memory=2048)
    package = Package(name="a", epoch=2, version="1", release="1", arch="src")
    sent = request(with_opts=("x",), enable_net=True, buildroot=root, source=package)
    (frame,) = Inbox().feed(pack("start", request=to_json(sent)))
    assert from_json(BuildRequest, frame.fields["request"]) == sent


@given(JSON)
def test_nothing_else_comes_out(value: object) -> None:
    try:
        found = from_json(Package, value)
    except WireError:
        return
    assert isinstance(found.name, str)


@pytest.mark.parametrize(
    "change", [{"slot": "3"}, {"slot": True}, {"chroot": 7}, {"with_opts": "x"}, {"source": []}]
)
def test_fields_of_another_type_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(WireError):
        from_json(BuildRequest, {**to_json(request()), **change})


@given(st.lists(st.tuples(st.text(), st.binary()), max_size=5), st.integers(1, 50))
def test_frames_survive_any_cut(sent: list[tuple[str, bytes]], size: int) -> None:
    stream = b"".join(pack(kind, data, n=1) for kind, data in sent)
    inbox, found = Inbox(), []
    for start in range(0, len(stream), size):
        found += list(inbox.feed(stream[start : start + size]))
    assert [(frame.kind, frame.data) for frame in found] == sent


@given(st.binary())
def test_garbage_is_no_frame(data: bytes) -> None:
    try:
        for frame in Inbox().feed(data):
            frame.number("n")
    except WireError:
        pass


def shipped(module: str) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle(module).data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_only_the_standard_library_is_needed_on_a_host() -> None:
    from backend.builders import registry

    for where in registry().values():
        files = shipped(where.partition(":")[0])
        for name, source in files.items():
            if name.endswith(".py"):
                for node in ast.walk(ast.parse(source)):
                    names = []
                    if isinstance(node, ast.Import):
                        names = [alias.name for alias in node.names]
                    elif isinstance(node, ast.ImportFrom) and not node.level:
                        names = [node.module or ""]
                    for top in {one.partition(".")[0] for one in names}:
                        assert top == "backend" or top in sys.stdlib_module_names, (name, top)
        assert "backend/hosts/agent.py" in files
        assert "backend/hosts/guard.py" in files
        assert "backend/builders/debian.macros" in files
        assert not any(name.startswith(("backend/web/", "backend/daemons/")) for name in files)


def test_a_foreign_builder_is_shipped_with_its_own_modules() -> None:
    files = shipped("tests.unit.stub_builder")
    assert "tests/unit/stub_builder.py" in files
    assert "tests/unit/__init__.py" in files
    assert "tests/unit/test_hosts_wire.py" not in files


def test_the_host_is_told_how_to_build_and_no_secret(tmp_path: Path) -> None:
    config = hosts.config(tmp_path)
    object.__setattr__(config, "builder_max_memory", 123456789)
    object.__setattr__(config, "builder_network", False)
    object.__setattr__(config, "frontend_auth", "very secret")
    text = host_config(config)
    assert "very secret" not in text
    assert str(tmp_path) not in text
    path = tmp_path / "there.conf"
    path.write_text(text)
    there = load(path)
    assert there.builder_max_memory == 123456789
    assert there.builder_network is False
    assert there.builder_type == config.builder_type
    assert builder_module(there) == "tests.unit.stub_builder"
