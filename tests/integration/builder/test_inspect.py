"""What is read of a source package before it is built."""

from pathlib import Path

import pytest

from backend.builders import headers
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.exceptions import BuildError
from tests.integration.builder.tiny import Build, source

pytestmark = pytest.mark.rpmbuild


def test_inspect(builder: RpmbuildBuilder, tmp_path: Path, workdir: Path) -> None:
    srpm = source(tmp_path, tags="ExclusiveArch: x86_64 s390x\nBuildArch: noarch")
    info = builder.inspect(srpm, workdir, 0)
    assert (info.package.filename, info.package.evr) == ("tiny-1.0-1.src.rpm", "2:1.0-1")
    assert info.spec == (tmp_path / "tiny.spec").read_bytes()
    assert (info.spec_name, info.exclusivearch) == ("tiny.spec", ("x86_64", "s390x"))
    assert info.buildarch == ("noarch",)


@pytest.mark.parametrize(
    ("tags", "define"),
    [
        ("ExcludeArch: s390x ppc64le\nURL: http://x", ""),
        ("Source0: absent.tar\nNoSource: 0", ""),
        ("", "_source_payload w9.gzdio"),
        ("", "_source_payload w7.xzdio"),
        ("", "_source_payload w.ufdio"),
        ("", "_source_filedigest_algorithm 1"),
    ],
)
def test_what_is_read_here_is_what_rpm_reads(
    builder: RpmbuildBuilder,
    tmp_path: Path,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    tags: str,
    define: str,
) -> None:
    (tmp_path / "absent.tar").touch()
    srpm = source(tmp_path, tags=tags, define=define)
    assert headers._known(srpm)
    ours = builder.inspect(srpm, workdir, 0)
    builder.cleanup(workdir, 0)
    workdir.mkdir(mode=0o700)
    monkeypatch.setattr(headers, "_known", lambda _copy: None)
    assert builder.inspect(srpm, workdir, 0) == ours


def test_inspect_refuses_what_is_no_source_package(
    builder: RpmbuildBuilder, tmp_path: Path, workdir: Path
) -> None:
    data = source(tmp_path).read_bytes()
    bad = tmp_path / "bad.src.rpm"
    for content, message in (
        (b"<html>404</html>", "is not an RPM package"),
        (b"", "is not an RPM package"),
        (data[:200], "damaged or truncated"),
        (data[:-20], "damaged or truncated"),
        (data[:-20] + bytes(20), "damaged or truncated"),
    ):
        bad.write_bytes(content)
        with pytest.raises(BuildError, match=message):
            builder.inspect(bad, workdir, 0)


def test_inspect_refuses_a_binary_package(
    builder: RpmbuildBuilder, tmp_path: Path, build: Build, workdir: Path
) -> None:
    binary = next(one.path for one in build(source(tmp_path)) if one.package.arch == "noarch")
    with pytest.raises(BuildError, match="is a binary RPM"):
        builder.inspect(binary, workdir, 0)
