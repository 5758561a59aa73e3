"""What a worker takes of an uploaded binary package, and what it refuses."""

from pathlib import Path
from typing import Any, cast

import pytest

from backend.builders import Builder, Monitor
from backend.config import load
from backend.exceptions import BuildError
from backend.job import RpmTask
from backend.obtain import Bench, binary
from tests.unit.test_builder_rpmheader import package
from tests.unit.test_core_values import RPM_RECORD

NAME = "hello-1.0-2.noarch.rpm"


def take(top: Path, data: bytes, name: str = NAME, **record: Any) -> Any:
    (top / "copr-be.conf").write_text(f"[backend]\nstatedir={top}\nresults_baseurl=http://x/r\n")
    config = load(top / "copr-be.conf")
    stored = top / "uploads/abc1" / name
    stored.parent.mkdir(parents=True)
    stored.write_bytes(data)
    (top / "work").mkdir()
    url = f"{config.frontend_url}/tmp/abc1/{name}"
    task = RpmTask.from_record({**RPM_RECORD, "srpm_url": None, "rpm_url": url, **record})
    nobody = (cast(Builder, None), cast(Monitor, None))
    bench = Bench(config=config, builder=nobody[0], slot=0, monitor=nobody[1], workdir=top / "work")
    found = binary(bench, task)
    assert stored.read_bytes() == data, "other chroots want it, too"
    return found


def test_a_good_one_is_taken(tmp_path: Path) -> None:
    found = take(tmp_path, package())
    assert found.path.read_bytes() == package()
    assert (found.package.filename, found.package.evr) == (NAME, "1.0-2")


@pytest.mark.parametrize(
    ("data", "name", "record", "why"),
    [
        (package()[:-1] + b"x", NAME, {}, "damaged: the digest of its content is wrong"),
        (
            package().replace(b"hello", b"jello"),
            NAME,
            {},
            "damaged: the digest of its header is wrong",
        ),
        (package(built=0), NAME, {}, "it has no build time"),
        (package(more=[(1106, 4, 1, b"\0\0\0\1")]), NAME, {}, "its header says"),
        (package(), "other-1.0-2.noarch.rpm", {}, "its header says hello-1.0-2.noarch.rpm"),
        (package(), NAME, {"package_name": "other"}, "other for debian-12-x86_64 was announced"),
        (package(arch=b"s390x\0\0"), "hello-1.0-2.s390x.rpm", {}, "hello for debian-12-x86_64 was"),
    ],
)
def test_others_are_refused(
    tmp_path: Path, data: bytes, name: str, record: dict[str, Any], why: str
) -> None:
    with pytest.raises(BuildError, match=rf"^package {name} is refused: {why}"):
        take(tmp_path, data, name, **record)


def test_what_was_uploaded_tells_its_tasks_apart() -> None:
    record = {**RPM_RECORD, "srpm_url": None, "submitted_on": 7, "rpm_url": "http://x/tmp/a/h.rpm"}
    one = RpmTask.from_record(record).identity
    other = RpmTask.from_record({**record, "rpm_url": "http://x/tmp/b/h.rpm"}).identity
    assert one
    assert one != other
