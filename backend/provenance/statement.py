"""The in-toto statement (v1) with SLSA provenance (v1) of one build. Pure."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.checkout import Checkout
from backend.provenance.packages import Rpm

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
#: What the parameters mean: docs/provenance.md. A name that nobody can take from us.
BUILD_TYPE = "tag:copr-backend,2026:rpm-build/v1"
#: Annotation: what stays of an RPM that is signed anew.
HEADER_DIGEST = "rpmHeaderSha256"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a build was. Times are seconds since the epoch, `url` is the directory of its results.

    `parameters` is what the task asked for, `own` what this farm added. `srpm_url` is where the
    source package came from; empty when it was made of `git` (URL and commit). `checkout` is of
    what commit it was made before. `beside` are other files in the directory: name → SHA-256.
    """

    task: str
    attempt: int
    url: str
    builder: str
    version: str
    started: float
    finished: float
    parameters: Mapping[str, Any]
    own: Mapping[str, Any]
    results: Sequence[Rpm]
    srpm: Rpm
    srpm_url: str = ""
    git: tuple[str, str] | None = None
    checkout: Checkout | None = None
    installed: Sequence[str] = ()
    beside: Mapping[str, str] | None = None


def stamp(moment: float) -> str:
    """As both formats write a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def make(facts: Facts) -> dict[str, Any]:
    """The statement: the RPMs are its subjects."""
    return {
        "_type": STATEMENT,
        "subject": [_package(rpm) for rpm in facts.results],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(facts.parameters),
                "internalParameters": dict(facts.own),
                "resolvedDependencies": _dependencies(facts),
            },
            "runDetails": {
                "builder": {"id": facts.builder, "version": {"copr-backend": facts.version}},
                "metadata": {
                    "invocationId": f"{facts.url}#{facts.task}.{facts.attempt}",
                    "startedOn": stamp(facts.started),
                    "finishedOn": stamp(facts.finished),
                },
                "byproducts": [
                    {"name": name, "uri": facts.url + name, "digest": {"sha256": digest}}
                    for name, digest in (facts.beside or {}).items()
                ],
            },
        },
    }


def _package(rpm: Rpm) -> dict[str, Any]:
    return {
        "name": rpm.file,
        "digest": {"sha256": rpm.sha256},
        "annotations": {HEADER_DIGEST: rpm.header_sha256},
    }


def _dependencies(facts: Facts) -> list[dict[str, Any]]:
    source = _package(facts.srpm)
    if facts.srpm_url:
        source["uri"] = facts.srpm_url
    found = [source]
    if facts.git:
        url, commit = facts.git
        found.append({"uri": f"git+{url}@{commit}", "digest": {"gitCommit": commit}})
    if made := facts.checkout:  # in-toto has no name for a revision of svn
        digest = {"digest": {"gitCommit": made.commit}} if made.kind == "git" else {}
        found.append({"uri": made.uri, **digest})
    files = facts.srpm.files.items()
    found += [{"name": name, "digest": {"sha256": digest}} for name, digest in files]
    return found + [{"uri": uri} for uri in facts.installed]
