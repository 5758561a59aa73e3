"""The documents beside a build, of plain values: names, licenses, package URLs."""

import gzip
import io
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.builders.rpmheader import Header
from backend.checkout import Checkout
from backend.exceptions import BuildError, CoprBackendError
from backend.job import RpmTask
from backend.provenance import packages, published, record, sbom, statement
from backend.provenance.packages import Rpm
from backend.provenance.sbom import Contents, license_of
from backend.provenance.statement import Facts


def rpm(name: str, *, source: bool = False, **tags: str) -> Rpm:
    """A package whose header has these texts (by number, as `t1014`)."""
    texts = {1000: name, 1001: "2", 1002: "3", 1022: "x86_64"}
    texts |= {int(key[1:]): value for key, value in tags.items()}
    made = {tag: (6, 1, f"{text}\0".encode()) for tag, text in texts.items()}
    made[1003] = (4, 1, struct.pack(">I", 1))
    if source:
        made[1106] = (4, 1, struct.pack(">I", 1))
        made[5011] = (4, 1, struct.pack(">I", 8))
        made[1117] = (8, 2, b"a.spec\0a.tar.gz\0")
        made[1035] = (8, 2, f"{'1' * 64}\0{'2' * 64}\0".encode())
    kind = "src" if source else "x86_64"
    file = f"{name}-2-3.{kind}.rpm"
    return Rpm(file=file, sha256="a" * 64, header_sha256="b" * 64, header=Header(tags=made))


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        ("MIT", "MIT"),
        ("GPL-2.0-or-later AND (MIT OR Apache-2.0)", "GPL-2.0-or-later AND (MIT OR Apache-2.0)"),
        ("GPLv2+", "LicenseRef-rpm-0"),
        ("MIT and BSD", "LicenseRef-rpm-0"),
        ("MIT AND", "LicenseRef-rpm-0"),
        ("(MIT", "LicenseRef-rpm-0"),
        ("MIT)", "LicenseRef-rpm-0"),
        ("MIT MIT", "LicenseRef-rpm-0"),
        ("()", "LicenseRef-rpm-0"),
        ("  ", "NOASSERTION"),
    ],
)
def test_only_what_surely_is_an_expression_is_one(text: str, declared: str) -> None:
    others: dict[str, str] = {}
    assert license_of(text, others) == declared
    assert list(others.values()) == [declared][: declared.startswith("LicenseRef")]
    assert license_of(text, others) == declared


def test_package_urls() -> None:
    assert packages.rpm_purl("Jane", "g++", "2:1.0~rc1-2", "x86_64") == (
        "pkg:rpm/jane/g%2B%2B@1.0~rc1-2?arch=x86_64&epoch=2"
    )
    lines = "bash-0:5.2-1.fc41.x86_64 1 2 - installed\nlib-x-y-1:2-3.noarch 1 2 - installed\n"
    lines += "g++_4:12.2.0-3_amd64 - 35 - installed\n\nodd\n"
    assert packages.installed(lines, "fedora") == [
        "pkg:rpm/fedora/bash@5.2-1.fc41?arch=x86_64",
        "pkg:rpm/fedora/lib-x-y@2-3?arch=noarch&epoch=1",
        "pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64",
    ]


def contents(*binaries: Rpm) -> Contents:
    return Contents(
        title="t",
        url="https://copr.example.org/results/o/p/c/00000001-a/",
        owner="o",
        version="1",
        created=0,
        binaries=binaries,
        source=rpm("a", source=True),
    )


def test_the_document_links_packages_and_sources() -> None:
    made = sbom.make(contents(rpm("a", t1014="GPLv2+"), rpm("a-libs", t1014="GPLv2+")))
    ids = [one["SPDXID"] for one in made["packages"]]
    assert len(ids) == len(set(ids)) == 5
    pairs = {
        (one["relationshipType"], one["spdxElementId"], one["relatedSpdxElement"])
        for one in made["relationships"]
    }
    assert ("DESCRIBES", "SPDXRef-DOCUMENT", "SPDXRef-rpm-1") in pairs
    assert ("GENERATED_FROM", "SPDXRef-rpm-1", "SPDXRef-source") in pairs
    assert ("CONTAINS", "SPDXRef-source", "SPDXRef-file-1") in pairs
    assert [one["name"] for one in made["hasExtractedLicensingInfos"]] == ["GPLv2+"]
    assert made["creationInfo"]["created"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("url", ["http://", "no url", "http://a b.org", "file:///x", "http://[x"])
def test_a_home_page_that_is_none_is_left_out(url: str) -> None:
    made = sbom.make(contents(rpm("a", t1020=url, t1004="two\nlines")))
    assert "homepage" not in made["packages"][0]
    assert made["packages"][0]["summary"] == "two lines"
    good = sbom.make(contents(rpm("a", t1020="https://example.org/a")))
    assert good["packages"][0]["homepage"] == "https://example.org/a"


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "build", "[::1]:80", "10.0.0.7"])
def test_a_place_that_only_this_network_knows_is_not_said(host: str) -> None:
    """SPDX's checker refuses addresses and names without a dot."""
    made = sbom.make(replace(contents(rpm("a")), url=f"http://{host}/results/"))
    assert [one["downloadLocation"] for one in made["packages"][:2]] == ["NOASSERTION"] * 2
    known = sbom.make(contents(rpm("a")))["packages"][0]
    assert known["downloadLocation"] == contents().url + known["packageFileName"]


def test_the_commit_of_dist_git_is_a_dependency() -> None:
    facts = Facts(
        task="1-c", attempt=2, url="https://r/", builder="https://f/#rpmbuild", version="1",
        started=0, finished=60, parameters={}, own={}, results=[rpm("a")],
        srpm=rpm("a", source=True), git=("https://git.example.org/a", "c" * 40),
    )  # fmt: skip
    predicate = statement.make(facts)["predicate"]
    source, commit, spec, _ = predicate["buildDefinition"]["resolvedDependencies"]
    assert "uri" not in source
    assert commit["digest"] == {"gitCommit": "c" * 40}
    assert spec == {"name": "a.spec", "digest": {"sha256": "1" * 64}}
    assert predicate["runDetails"]["metadata"]["invocationId"] == "https://r/#1-c.2"


@pytest.mark.parametrize("kind", ["git", "svn"])
def test_what_the_source_package_was_made_from_is_a_dependency(kind: str, tmp_path: Path) -> None:
    commit = b"d" * 40 if kind == "git" else b"17"
    made = Checkout.of(kind, f"{kind}://u:secret@x.example.org/a", "main", commit + b"\n")
    (tmp_path / "note").write_bytes(made.note())
    assert Checkout.read(tmp_path / "note") == made
    facts = Facts(
        task="1-c", attempt=1, url="https://r/", builder="https://f/#rpmbuild", version="1",
        started=0, finished=60, parameters={}, own={}, results=[rpm("a")],
        srpm=rpm("a", source=True), srpm_url="https://r/a.src.rpm", checkout=made,
    )  # fmt: skip
    definition = statement.make(facts)["predicate"]["buildDefinition"]
    found = definition["resolvedDependencies"][1]
    assert found["uri"] == f"{kind}://x.example.org/a@{commit.decode()}"
    assert found.get("digest") == ({"gitCommit": "d" * 40} if kind == "git" else None)


def test_the_commit_is_that_of_the_very_source_package(tmp_path: Path) -> None:
    made = {}
    for build in (6, 7):
        directory = tmp_path / f"results/o/p/srpm-builds/{build:08d}"
        directory.mkdir(parents=True)
        (directory / "a-1-1.src.rpm").touch()
        made[build] = Checkout(kind="git", url="https://x/a", asked="", commit=f"{build}" * 40)
        (directory / "checkout.json").write_bytes(made[build].note())
    url = "https://copr.example.org/results"
    config = cast(Any, SimpleNamespace(destdir=tmp_path / "results", results_url=url))

    def found(**sources: str) -> Checkout | None:
        task = RpmTask.from_record({
            "task_id": "7-fedora-41-x86_64", "build_id": 7, "project_owner": "o",
            "project_name": "p", "project_dirname": "p", "chroot": "fedora-41-x86_64",
            "package_name": "a", **sources,
        })  # fmt: skip
        return record._checkout(cast(Any, SimpleNamespace(config=config, task=task)))

    assert found(srpm_url=f"{url}/o/p/srpm-builds/00000006/a-1-1.src.rpm") == made[6]
    assert found(git_repo="https://dist.example.org/a", git_hash="c" * 40) == made[7]
    assert found(srpm_url="https://elsewhere.example.org/a-1-1.src.rpm") is None


@pytest.mark.parametrize("printed", [None, b"", b"main", b"d" * 41, b"\xff", b"d" * 40 + b"\nx"])
def test_a_commit_that_is_none_is_refused(printed: bytes | None) -> None:
    with pytest.raises(BuildError, match="tells no commit"):
        Checkout.of("git", "https://x/a", "main", printed)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": 7}', "\xff"])
def test_a_note_of_a_commit_that_is_none_is_passed_over(tmp_path: Path, text: str) -> None:
    assert Checkout.read(tmp_path / "none") is None
    (tmp_path / "note").write_text(text)
    assert Checkout.read(tmp_path / "note") is None


def test_a_build_without_success_or_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CoprBackendError, match="no chroot has results of it"):
        published.find(tmp_path, 7)
    path = tmp_path / "o/p/fedora-41-x86_64/00000007-a"
    path.mkdir(parents=True)
    (tmp_path / "o/p/srpm-builds/00000007").mkdir(parents=True)
    with pytest.raises(CoprBackendError, match="has not succeeded"):
        published.find(tmp_path, 7)
    (path / "success").touch()
    with pytest.raises(CoprBackendError, match=r"configs\.tar\.gz cannot be read"):
        published.find(tmp_path, 7)
    (path / "configs.tar.gz").write_bytes(b"no archive")
    with pytest.raises(CoprBackendError, match=r"configs\.tar\.gz cannot be read"):
        published.find(tmp_path, 7)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(__file__, "configs/settings.json")
    for damaged in (packed.getvalue()[:200], packed.getvalue()[:40] + bytes(100)):
        (path / "configs.tar.gz").write_bytes(damaged)
        with pytest.raises(CoprBackendError, match=r"configs\.tar\.gz cannot be read"):
            published.find(tmp_path, 7)
    (path / "installed_pkgs.log.gz").write_bytes(gzip.compress(b"a\n" * 100)[:-9])
    with pytest.raises(CoprBackendError, match=r"installed_pkgs\.log\.gz cannot be read"):
        published.Published(path=path, settings={}).installed  # noqa: B018
    (path / "build.info").write_text("build_id=7\nbuilder_ip=(uploaded)")
    with pytest.raises(CoprBackendError, match=r"build 7 was not built here: its package was up"):
        published.find(tmp_path, 7)
