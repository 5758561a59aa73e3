"""A build that had marked its success when its worker died is not built again: what is on disk
is published and reported, so that nothing that readers have seen ever vanishes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from backend import layout, rpmtask
from backend.builders import Package
from backend.config import Config
from backend.job import RpmTask, SourceTask
from backend.results import ResultDir


def earlier(attempt: int, task: SourceTask | RpmTask, results: ResultDir) -> bool:
    """True when what lies there may be of an earlier start of this very task.

    Redis counts the starts, and may have forgotten them; a frontend may have forgotten that it
    gave the number away. So what was written at the start decides, if it was.
    """
    same = results.of(task.identity) if isinstance(task, RpmTask) else None
    return attempt > 1 if same is None else same


def resume(config: Config, task: SourceTask | RpmTask, results: ResultDir) -> dict[str, Any] | None:
    """What the final report says beyond every report, if an earlier attempt had succeeded.

    Publishes an RPM build (again). None when there is nothing complete; raises
    InfrastructureError.
    """
    document = results.finished()
    if document is None:
        return None
    if isinstance(task, SourceTask):
        return _source(config, task, results.path, document)
    rpmtask.publish(config, task)
    packages = document.get("packages", [])
    return {
        "results": document,
        "built_packages": summary((p["name"], p["version"], p["arch"]) for p in packages),
        "pkg_version": task.version,
    }


def _source(
    config: Config, task: SourceTask, path: Path, document: Mapping[str, Any]
) -> dict[str, Any] | None:
    names = ("name", "epoch", "version", "release")
    if any(name not in document for name in names):
        return None
    package = Package(arch="src", **{name: document[name] for name in names})
    if not (path / package.filename).is_file():
        return None
    return source_report(config, task, package, document)


def source_report(
    config: Config, task: SourceTask, package: Package, document: Mapping[str, Any]
) -> dict[str, Any]:
    """What the final report of a source build says beyond every report."""
    return {
        "pkg_name": package.name,
        "pkg_version": package.evr,
        "srpm_url": layout.result_url(config.results_url, task, package.filename),
        "results": document,
    }


def summary(packages: Iterable[tuple[str, str, str]]) -> str:
    """One line `name version` for each binary package, of (name, version, arch)."""
    lines = sorted({f"{name} {version}" for name, version, arch in packages if arch != "src"})
    return "\n".join(lines)
