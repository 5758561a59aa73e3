"""What forges tell of a push, and which packages it concerns. The rules are Copr's own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Payload = Mapping[str, Any]


class NoPush(ValueError):
    """The message cannot be read; its text says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """New commits, or a new tag. `paths` are the files they change; None: nobody says."""

    clone_urls: tuple[str, ...]
    ref: str
    commit: str
    tag: bool = False
    paths: tuple[str, ...] | None = None

    @property
    def committish(self) -> str:
        """What is to be built."""
        return self.ref if self.tag else self.commit


def _texts(record: object, *keys: str) -> tuple[str, ...]:
    found = [record.get(key) for key in keys] if isinstance(record, Mapping) else []
    return tuple(value for value in found if isinstance(value, str) and value)


def _paths(commits: object) -> tuple[str, ...] | None:
    if not isinstance(commits, list) or not commits:
        return None
    found: list[str] = []
    for commit in commits:
        for key in ("added", "modified", "removed"):
            names = commit.get(key) if isinstance(commit, Mapping) else None
            found += [name for name in names or () if isinstance(name, str)]
    return tuple(found)


def github(payload: Payload) -> Push | None:
    """GitHub's events `push` and `create`; None: nothing to build (a branch is gone)."""
    urls = _texts(payload.get("repository"), "clone_url", "html_url", "ssh_url", "git_url")
    ref, commit = payload.get("ref"), payload.get("after")
    if not urls or not isinstance(ref, str):
        raise NoPush("repository.clone_url or ref is missing")
    if payload.get("deleted") is True or payload.get("ref_type") == "branch":
        return None
    if payload.get("ref_type") == "tag" or ref.startswith("refs/tags/"):
        return Push(clone_urls=urls, ref=ref.removeprefix("refs/tags/"), commit="", tag=True)
    paths = _paths(payload.get("commits"))
    return Push(clone_urls=urls, ref=ref, commit=_commit(commit), paths=paths)


def gitlab(payload: Payload) -> Push | None:
    """GitLab's events `push` and `tag_push`."""
    urls = _texts(payload.get("project"), "git_http_url", "web_url", "git_ssh_url")
    ref, commit = payload.get("ref"), payload.get("after")
    if not urls or not isinstance(ref, str):
        raise NoPush("project.git_http_url or ref is missing")
    if _is_zero(commit):
        return None
    if payload.get("object_kind") == "tag_push":
        return Push(clone_urls=urls, ref=ref.removeprefix("refs/tags/"), commit="", tag=True)
    paths = _paths(payload.get("commits"))
    return Push(clone_urls=urls, ref=ref, commit=_commit(commit), paths=paths)


def bitbucket(payload: Payload) -> Push | None:
    """Bitbucket's event `repo:push`; of several changes in one push the first counts."""
    links = _map(_map(payload.get("repository")).get("links"))
    urls = _texts(links.get("html"), "href")
    changes = _map(payload.get("push")).get("changes")
    if not urls or not isinstance(changes, list) or not changes:
        raise NoPush("repository.links.html.href or push.changes is missing")
    new = _map(changes[0]).get("new")
    if new is None:
        return None
    names = _texts(new, "name")
    if not names:
        raise NoPush("push.changes[0].new.name is missing")
    if _map(new).get("type") == "tag":
        return Push(clone_urls=urls, ref=names[0], commit="", tag=True)
    commit = _map(_map(new).get("target")).get("hash")
    return Push(clone_urls=urls, ref=f"refs/heads/{names[0]}", commit=_commit(commit))


FORGES = {"github": github, "gitlab": gitlab, "bitbucket": bitbucket}


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_zero(commit: object) -> bool:
    return isinstance(commit, str) and bool(re.fullmatch(r"0+", commit))


def _commit(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{7,64}", value):
        raise NoPush("the commit is missing")
    return value


def _same(one: str) -> str:
    """An address without what does not matter."""
    plain = re.sub(r"(\.git)?/*$", "", one.strip())
    plain = re.sub(r"^(https?|git|ssh)://([^@/]*@)?", "", plain)
    return re.sub(r"^[^@/]*@([^:/]+):", r"\1/", plain).lower()


def concerns(push: Push, package: str, source: Mapping[str, Any]) -> bool:
    """Is the package (with the source of an SCM package) to be built because of it?"""
    own = _same(str(source.get("clone_url") or ""))
    if not own or own not in {_same(url) for url in push.clone_urls}:
        return False
    if push.tag:
        named = re.fullmatch(r"(.*)-[^-]+-[^-]+", push.ref)
        return named is None or named[1] == package
    wanted = str(source.get("committish") or "")
    if wanted and push.ref not in (wanted, f"refs/heads/{wanted}"):
        return False
    return _touches(push.paths, str(source.get("subdirectory") or ""))


def _touches(paths: Sequence[str] | None, directory: str) -> bool:
    place = directory.strip("/")
    if not place or paths is None:
        return True
    return any(path == place or path.startswith(f"{place}/") for path in paths)
