"""Checks names, URLs and signing in the configuration; `backend.config` calls it."""

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.options import OPTIONS

_GROUP_KEY = re.compile(r"group(\d+)_(\w+)")


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


def wrong_urls(config: Any) -> Iterator[str]:
    """One line for each URL and network of a `Config` that is none, with the remedy."""
    try:
        config.distgit_lookaside.format(path="", name="", filename="", hashtype="", hash="")
    except (LookupError, ValueError) as error:
        yield (
            f"{config.path}: distgit_lookaside = {config.distgit_lookaside}: {error}: only"
            " {path}, {name}, {filename}, {hashtype} and {hash} are known"
        )
    for key in ("frontend_base_url", "results_baseurl", "web_public_url", "webhook_url"):
        url = getattr(config, key)
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a broken IPv6 address, a port out of range
            good = False
        if url and not good:
            shown = "…" if key == "webhook_url" else url
            yield f"{config.path}: {key} = {shown}: write http://HOST or https://HOST"
    for network in config.web_hook_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield f"{config.path}: hook_networks: {error}: write e.g. 10.1.0.0/16"
    if not config.embedded and not config.results_baseurl:
        yield (
            f"{config.path}: results_baseurl is empty: with frontend_base_url set,"
            " give the URL under which destdir is served"
        )
