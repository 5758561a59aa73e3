"""Writes the documents of a build into its result directory, before anybody can see it.

A disk or a signer that fails is the farm's fault, as with every other file of the results: the
build is tried again. Nothing is published without its documents while they are on.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import __version__, layout, sign, sources
from backend.builders import LOGS, Package
from backend.builders import installed as lists
from backend.checkout import Checkout
from backend.config import Config
from backend.exceptions import InfrastructureError
from backend.job import RpmTask
from backend.layout import PROVENANCE, SBOM
from backend.provenance import packages, sbom, statement
from backend.results import ResultDir


@dataclass(frozen=True, kw_only=True)
class Made:
    """A build whose RPMs lie in its result directory. `srpm` is what it was made of, `workdir` that
    of the builder, `settings` what configs.tar.gz says; times are seconds since the epoch."""

    config: Config
    task: RpmTask
    attempt: int
    srpm: Path
    workdir: Path
    results: ResultDir
    packages: Sequence[Package]
    settings: Mapping[str, Any]
    started: float
    finished: float


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What lies in the directory of a build: its packages, the source package that it was made
    from, the digests of what lies beside them, and the list of what was installed."""

    rpms: list[packages.Rpm]
    used: packages.Rpm
    beside: dict[str, str]
    listed: str


def write(made: Made) -> None:
    """Leave the SPDX document and the statement, which names it; with a signature of the project's
    key if packages are signed. Raises InfrastructureError."""
    directory, task = made.results.path, made.task
    try:
        found = _Read(
            rpms=[packages.read(directory / one.filename) for one in made.packages],
            used=packages.read(made.srpm),
            beside=_digests(directory, (f"{lists.NAME}.gz", layout.CONFIGS)),
            listed=_text(made.workdir / LOGS / lists.NAME),
        )
    except OSError as error:
        raise InfrastructureError(f"cannot read the results in {directory}: {error}") from error
    except ValueError as error:  # a builder of one's own may make what it likes
        made.results.log(f"no provenance: a result is no RPM that can be read: {error}")
        return
    content = _json(sbom.make(_contents(made, found)))
    made.results.write_document(SBOM, content)
    found.beside[SBOM] = hashlib.sha256(content).hexdigest()
    made.results.write_document(PROVENANCE, _json(statement.make(_facts(made, found))))
    signer = sign.signer(made.config, task.owner, task.dirname)
    if signer:
        signature = signer.sign_metadata(directory / PROVENANCE)
        made.results.write_document(f"{PROVENANCE}.asc", signature)


def _contents(made: Made, found: _Read) -> sbom.Contents:
    task = made.task
    return sbom.Contents(
        title=f"{task.owner}/{task.dirname} {task.result_dir} {task.chroot}",
        url=layout.result_url(made.config.results_url, task),
        owner=task.owner,
        version=__version__,
        created=made.finished,
        binaries=[rpm for rpm in found.rpms if not rpm.header.source],
        source=next((rpm for rpm in found.rpms if rpm.header.source), found.used),
    )


def _facts(made: Made, found: _Read) -> statement.Facts:
    task, config, checkout = made.task, made.config, _checkout(made)
    return statement.Facts(
        task=task.task_id,
        attempt=made.attempt,
        url=layout.result_url(config.results_url, task),
        builder=f"{config.public_url}/#{config.builder_type}",
        version=__version__,
        started=made.started,
        finished=made.finished,
        parameters=_parameters(made, checkout),
        own={"builder": config.builder_type, "settings": made.settings},
        results=found.rpms,
        srpm=found.used,
        srpm_url=task.srpm_url or "",
        git=(task.git_repo, task.git_hash) if task.git_repo and task.git_hash else None,
        checkout=checkout,
        installed=packages.installed(found.listed, str(task.chroot).partition("-")[0]),
        beside=found.beside,
    )


def _checkout(made: Made) -> Checkout | None:
    """Of which commit the source package was made, as the source build has noted it: here, or
    beside the package that the task names, which may be another build's."""
    config, task = made.config, made.task
    directory = layout.source_path(config.destdir, task)
    if task.srpm_url:
        found = sources.published_srpm(task, config.destdir, config.results_url)
        if found is None:
            return None
        directory = found.parent
    return Checkout.read(directory / layout.CHECKOUT)


def _parameters(made: Made, checkout: Checkout | None) -> dict[str, Any]:
    """What the task said: whose package, of which sources, for which chroot, with what."""
    task = made.task
    known = {"srpm": task.srpm_url, "git": task.git_repo, "commit": task.git_hash}
    if checkout:
        known |= {"scm": checkout.url, "committish": checkout.asked}
    return {
        "build": task.build_id,
        "project": f"{task.owner}/{task.dirname}",
        "package": task.package,
        "chroot": str(task.chroot),
        "source": {name: value for name, value in known.items() if value},
        "repositories": [str(repo.get("baseurl")) for repo in task.repos],
        "packages": list(task.buildroot_pkgs),
        "modules": list(task.modules),
        "with": list(task.with_opts),
        "without": list(task.without_opts),
        "network": task.enable_net,
    }


def _digests(directory: Path, names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        if (directory / name).is_file():
            with (directory / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
