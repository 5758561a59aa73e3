"""What results.json says of a build, and the same in the update that ends it; Copr's own form."""

from collections.abc import Sequence
from typing import Any

from backend.builders import Package, SourceInfo


def of_rpm(packages: Sequence[Package]) -> dict[str, Any]:
    """Content of results.json, and of `results` in the final update, of an RPM build."""
    return {"packages": [_identity(package) | {"arch": package.arch} for package in packages]}


def of_source(info: SourceInfo, distributions: Sequence[str]) -> dict[str, Any]:
    """The same of a source build; `distributions` must name those of every chroot."""
    lists = {
        "exclusivearch": info.exclusivearch,
        "excludearch": info.excludearch,
        "buildarch": info.buildarch,
    }
    tags = {name: list(arches) for name, arches in lists.items() if arches}
    by_distribution = {distribution: dict(tags) for distribution in distributions}
    return _identity(info.package) | {"architecture_specific_tags": by_distribution}


def _identity(package: Package) -> dict[str, Any]:
    return {
        "name": package.name,
        "epoch": package.epoch,
        "version": package.version,
        "release": package.release,
    }
