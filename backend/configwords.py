"""Checks names, URLs and signing in the configuration; `backend.config` calls it."""

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.options import OPTIONS

_GROUP_KEY = re.compile(r"group(0|[1-9][0-9]{0,5})_(\w+)", re.ASCII)
_ARCH = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
#: Names that others have for architectures of RPM.
_ARCHS = {
    "amd64": "x86_64",
    "x86-64": "x86_64",
    "x64": "x86_64",
    "arm64": "aarch64",
}


def wrong_names(path: Path, raw: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """One line for each section and key of the file that is unknown, with what was meant."""
    known: dict[str, list[str]] = {}
    grouped = [option.name for option in OPTIONS if option.group]
    for option in OPTIONS:
        if not option.group:
            known.setdefault(option.section, []).append(option.name)
    for section, keys in raw.items():
        if section not in known:
            yield f"{path}: unknown section [{section}]{_hint(section, list(known))}"
            continue
        for key in keys:
            match = _GROUP_KEY.fullmatch(key) if section == "backend" else None
            if match and match.group(2) not in grouped:
                names = [f"group{match.group(1)}_{name}" for name in grouped]
                yield f"{path}: unknown key `{key}`{_hint(key, names)}"
            if not match and key not in known[section]:
                names = known[section] + (
                    [f"group0_{n}" for n in grouped] if section == "backend" else []
                )
                yield f"{path}: [{section}] unknown key `{key}`{_hint(key, names)}"


def _hint(word: str, names: list[str]) -> str:
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f", perhaps `{near[0]}`?" if near else f": one of {', '.join(names)}"


def idle_groups(section: Mapping[str, str], groups: int) -> Iterator[str]:
    """One line for each group that [backend] describes and `build_groups` leaves out."""
    numbers = {int(match.group(1)) for key in section if (match := _GROUP_KEY.fullmatch(key))}
    for number in sorted(number for number in numbers if number >= groups):
        yield f"[backend] group{number}_…: no effect: build_groups = {groups}, counted from group0"


def wrong_archs(config: Any) -> Iterator[str]:
    """One line for each architecture of a group for which there can be no task."""
    for group in config.groups:
        for arch in group.archs:
            if arch in _ARCHS or not _ARCH.fullmatch(arch):
                meant = _ARCHS.get(arch, "names like x86_64, aarch64, with spaces between them")
                yield f"{config.path}: [backend] group{group.id}_archs = {arch}: write {meant}"


#: As they are written in the file → fields of `Config`.
_URLS = {
    "[backend] frontend_base_url": "frontend_base_url",
    "[backend] results_baseurl": "results_baseurl",
    "[web] public_url": "web_public_url",
    "[webhook] url": "webhook_url",
}


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a broken IPv6 address, a port out of range
        return False
    return bool(good) and not re.search(r"[\s\\]", url)


def wrong_signing(config: Any) -> Iterator[str]:
    """One line for each problem of [signing] in a `Config`, with the remedy."""
    if config.signing_backend == "obs-sign" and not config.signing_domain:
        yield (
            f"{config.path}: [signing] domain is empty: obs-sign names keys by it, set it to"
            " sign_domain of the Copr backend that made them"
        )
    for key in ("domain", "keygen_host"):
        value = getattr(config, f"signing_{key}")
        if not re.fullmatch(r"[A-Za-z0-9.:\[\]_-]*", value):
            yield f"{config.path}: [signing] {key} = {value[:200]}: write a host name alone"


def wrong_distgit(config: Any) -> Iterator[str]:
    """One line for each place of dist-git that is none, with the remedy."""
    where = f"{config.path}: [backend] distgit_lookaside = {config.distgit_lookaside}"
    try:
        config.distgit_lookaside.format(path="", name="", filename="", hashtype="", hash="")
    except (LookupError, ValueError, AttributeError) as error:
        yield (
            f"{where}: {error}: only {{path}}, {{name}}, {{filename}}, {{hashtype}} and {{hash}}"
            " are known"
        )
    if config.distgit_lookaside and not _is_http(config.distgit_lookaside):
        yield f"{where}: write http://HOST/… or https://HOST/…"
    for entry in config.web_distgit:
        name, _, url = entry.partition("=")
        if not name or not _is_http(url) or "{package}" not in url:
            yield (
                f"{config.path}: [web] distgit = {entry}: write NAME=URL with {{namespace}} and"
                " {package}"
            )


def wrong_urls(config: Any) -> Iterator[str]:
    """One line for each URL and network of a `Config` that is none, with the remedy."""
    for name, key in _URLS.items():
        url = getattr(config, key)
        shown = f"{config.path}: {name} = {'…' if key == 'webhook_url' else url}"
        if url and not _is_http(url):
            yield f"{shown}: write http://HOST or https://HOST"
        elif url and key != "webhook_url" and "@" in urlsplit(url).netloc:
            yield (
                f"{config.path}: {name} has a user or a password, and everybody sees this address:"
                " leave that out"
            )
    for network in config.web_hook_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield f"{config.path}: hook_networks: {error}: write e.g. 10.1.0.0/16"
    if not config.web_host:
        yield f"{config.path}: [web] host is empty: write an address, 0.0.0.0 for all of IPv4"
    if not config.embedded and not config.results_baseurl:
        yield (
            f"{config.path}: results_baseurl is empty: with frontend_base_url set,"
            " give the URL under which destdir is served"
        )
