"""Keys of other `copr-be.conf` files: today's Copr backend, and that of 2015.

Each one that this backend does not know by its name is read as another one, or is left out;
either way one line says so. Pure: works on the text of the file.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

Raw = dict[str, dict[str, str]]

_REDIS = ("redis_host", "redis_port", "redis_db", "redis_password")
_SIGNING = ("do_sign", "keygen_host", "sign_domain")
#: Old name in [backend] → the name of the same thing here.
_RENAMED = {"worker_logdir": "log_dir", "num_workers": "max_workers"}
_NO_VM = "group<N>_hosts names other machines, without it builds run here: see docs/hosts.md"
_SPAWN = "group<N>_spawn_command makes machines, without it builds run here: see docs/hosts.md"
_RESALLOC = "group<N>_resalloc_connection and group<N>_resalloc_tags of each group take its place"
_PRUNING = "`copr_be.py prune` and [prune] every prune in one process"
_HOST = "the rpmbuild builder uses what is installed on this host"
_STATS = "`copr_be.py status` and the event stream tell what goes on"
#: What takes the place of keys that have no counterpart, by section and pattern.
_GONE: Mapping[str, Mapping[str, str]] = {
    "backend": {
        r"gently_gpg_sha256": "signatures are made with SHA-256",
        r"fedmsg_enabled": "[webhook] url announces finished builds",
        r"prune_workers|prune_script": _PRUNING,
        r"statsdir|stats_templates_dir": _STATS,
        r"log_format": "the format of the logs is fixed",
        r"error_logfile|sentry_dsn": "errors are in the log files and in `copr_be.py status`",
        r"verbose": "log_level = debug logs more",
        r"daemonize": "`copr_be.py -d` runs in the background",
        r"jobsdir": "tasks come from the frontend alone",
        r"dist_git_url": "tasks name their repository; distgit_lookaside is where its files are",
        r"build_deleting_without_createrepo": "repositories are published when builds go",
        r"resalloc_connection": _RESALLOC,
        r"vm_\w+|ansible_\w+|(spawn|terminate)_(playbook|vars)": _SPAWN,
        r"group\d+_(spawn_playbook|terminate_playbook|playbook_timeout|vm_\w+)": _SPAWN,
        r"group\d+_(max_spawn_processes|max_builds_per_vm|spawn_vars|terminate_vars)": _SPAWN,
        r"max_spawn_processes|spawn_in_advance": _SPAWN,
        r"group\d+_max_vm_per_user": "builds_max_workers_owner limits the builds of an owner",
        r"builds_max_userssh": "users get no ssh access to builders",
        r"build_user": "[builder] uid is the first user id that builds run under",
        r"architectures": "group<N>_archs names the architectures of a group",
        r"aws_cloudfront_distribution|pulp_\w+": "results are kept in destdir alone",
        r"rpmeta_\w+|hitcounter_\w+|copr_prune\w*": _STATS,
    },
    "builder": {
        r"builder_perl|builder_deprecated": _HOST,
        r"consecutive_failure_threshold": "the sentinel watches for builds that do not progress",
    },
    "ssh": {
        r"builder_config": "[hosts] ssh_config and [hosts] identity take its place",
        r"\w+": _NO_VM,
    },
}


def translate(raw: Mapping[str, Mapping[str, str]], known: frozenset[str]) -> tuple[Raw, list[str]]:
    """The file in this backend's words, and one line for each key that was another's.

    `known` are this backend's own keys, as `section.key`: those are never touched.
    """
    new: Raw = {section: dict(keys) for section, keys in raw.items()}
    notes: list[str] = []
    backend = new.get("backend")
    if backend is not None:
        _rename(backend, notes)
        _redis(backend, notes)
        _groups(backend, notes)
        _level(backend, notes)
        _signing(new, notes)
    for section, patterns in _GONE.items():
        for key in list(new.get(section, {})):
            instead = _instead(patterns, key)
            if instead and f"{section}.{key}" not in known:
                del new[section][key]
                notes.append(f"[{section}] {key} has no effect: {instead}")
    if not new.get("ssh", {"kept": ""}):
        del new["ssh"]
    return new, notes


def _instead(patterns: Mapping[str, str], key: str) -> str:
    return next((text for pattern, text in patterns.items() if re.fullmatch(pattern, key)), "")


def _move(keys: dict[str, str], old: str, new: str, value: str, notes: list[str]) -> None:
    """Read `old` as `new`, unless that is set too."""
    del keys[old]
    if keys.get(new):
        notes.append(f"[backend] {old} has no effect: {new} is set")
        return
    keys[new] = value
    notes.append(f"[backend] {old} is read as {new} = {value}")


def _rename(keys: dict[str, str], notes: list[str]) -> None:
    for old, new in _RENAMED.items():
        if old in keys:
            _move(keys, old, new, keys[old], notes)
    if "frontend_url" in keys:
        base = keys["frontend_url"].strip().rstrip("/").removesuffix("/backend")
        _move(keys, "frontend_url", "frontend_base_url", base, notes)
    if "logfile" in keys:
        directory = str(PurePosixPath(keys["logfile"].strip()).parent)
        _move(keys, "logfile", "log_dir", directory, notes)


def _redis(keys: dict[str, str], notes: list[str]) -> None:
    given = {name: keys.pop(name).strip() for name in _REDIS if name in keys}
    if not given:
        return
    names = ", ".join(given)
    if keys.get("redis_url"):
        notes.append(f"[backend] {names}: no effect: redis_url is set")
        return
    secret = given.get("redis_password", "")
    user = f":{quote(secret, safe='')}@" if secret else ""
    host, port = given.get("redis_host") or "127.0.0.1", given.get("redis_port") or "6379"
    place = f"{host}:{port}/{given.get('redis_db') or '0'}"
    keys["redis_url"] = f"redis://{user}{place}"
    shown = f"redis://{':…@' if secret else ''}{place}"
    notes.append(f"[backend] {names}: read as redis_url = {shown}")


def _groups(keys: dict[str, str], notes: list[str]) -> None:
    for old in [key for key in keys if re.fullmatch(r"group\d+_max_vm_total", key)]:
        new = old.replace("max_vm_total", "max_workers")
        _move(keys, old, new, keys[old], notes)


def _level(keys: dict[str, str], notes: list[str]) -> None:
    level = keys.get("log_level", "").strip()
    words = {"critical": "error", "fatal": "error", "warn": "warning"}
    meant = words.get(level.lower(), level.lower())
    if level and meant != level:
        keys["log_level"] = meant
        notes.append(f"[backend] log_level = {level} is read as {meant}")


def _signing(new: Raw, notes: list[str]) -> None:
    """`do_sign` and what belongs to it: today's Copr knows obs-sign alone."""
    backend, signing = new["backend"], dict(new.get("signing", {}))
    given = {name: backend.pop(name).strip() for name in _SIGNING if name in backend}
    if not given:
        return
    names = ", ".join(given)
    if given.get("do_sign", "").lower() not in ("1", "yes", "true", "on"):
        notes.append(f"[backend] {names} without effect: do_sign is not on")
        return
    if signing.get("backend"):
        notes.append(f"[backend] {names} without effect: [signing] backend is set")
        return
    signing["backend"] = "obs-sign"
    signing.setdefault("domain", given.get("sign_domain") or "fedorahosted.org")
    if given.get("keygen_host"):
        signing.setdefault("keygen_host", given["keygen_host"])
    new["signing"] = signing
    words = ", ".join(f"{key} = {value}" for key, value in signing.items())
    notes.append(f"[backend] {names} as [signing] {words}")
