"""Reads `copr-be.conf` into one frozen value; every problem is one `ConfigError` line."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from backend.configfile import sections
from backend.configwords import (
    idle_groups,
    wrong_archs,
    wrong_distgit,
    wrong_names,
    wrong_signing,
    wrong_urls,
)
from backend.exceptions import ConfigError
from backend.hostwords import wrong_hosts
from backend.legacy import translate
from backend.options import OPTIONS, Option
from backend.optiontext import convert
from backend.placewords import wrong_places

DEFAULT_PATH = Path("/etc/copr/copr-be.conf")


@dataclass(frozen=True, kw_only=True)
class Group:
    """A builder group: its queue is `copr-be-<id>`, its workers build for `archs`."""

    id: int
    name: str
    archs: tuple[str, ...]
    max_workers: int
    hosts: tuple[str, ...] = ("local",)
    max_per_host: int = 1
    spawn_command: str = ""
    terminate_command: str = ""
    list_command: str = ""
    preallocate: int = 0
    max_hosts: int = 10
    host_idle_time: int = 600
    host_affinity: str = "sandbox"
    host_user: str = "root"
    resalloc_connection: str = ""
    resalloc_tags: tuple[str, ...] = ()

    @property
    def pooled(self) -> bool:
        """True when its builds need a host of a pool; False: they run here, as they come."""
        return self.hosts != ("local",) or self.on_demand

    @property
    def on_demand(self) -> bool:
        """True when machines are made for it."""
        return bool(self.spawn_command or self.resalloc_connection)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All options, checked and with their defaults filled in; `backend.options` explains each."""

    path: Path
    groups: tuple[Group, ...]
    #: What was said in another backend's words, one line for each key.
    notes: tuple[str, ...] = ()
    frontend_base_url: str
    frontend_auth: str = field(repr=False)
    distgit_lookaside: str
    results_baseurl: str
    destdir: Path
    statedir: Path
    rundir: Path
    log_dir: Path
    log_level: str
    sleeptime: int
    redis_url: str = field(repr=False)
    max_workers: int
    build_groups: int
    builds_max_workers: int
    builds_max_workers_owner: int
    builds_max_workers_sandbox: int
    builds_max_workers_arch: Mapping[str, int]
    builds_max_workers_arch_per_owner: Mapping[str, int]
    builds_max_workers_tag: Mapping[str, int]
    blocked_owners: tuple[str, ...]
    fair_share_half_life: int
    exit_on_worker: bool
    max_attempts: int
    trouble_timeout: int
    actions_max_workers: int
    stop_timeout: int
    user: str
    group: str
    stall_alarm: int
    min_free: int | None
    prune_days: int
    builder_type: str
    builder_chroot: str
    builder_mock_user: str
    builder_mock_configs: Path
    builder_mock_chroots: tuple[str, ...]
    builder_mock_isolation: str
    builder_mock_basedir: Path
    builder_root: Path
    builder_roots: Mapping[str, Path]
    builder_timeout: int
    builder_stall_timeout: int
    builder_uid: int
    builder_max_processes: int
    builder_build_memory: int
    builder_max_memory: int
    builder_cgroup: str
    builder_max_disk: int
    builder_max_files: int
    builder_macros: bool
    builder_debuginfo: bool
    builder_reproducible: bool
    builder_max_file: int
    builder_max_log: int
    builder_max_download: int
    builder_network: bool
    hosts_identity: Path | str
    hosts_known_hosts: Path | str
    hosts_ssh_config: Path | str
    hosts_connect_timeout: int
    hosts_timeout: int
    hosts_python: str
    hosts_directory: str
    hosts_max_results: int
    repository_keep_states: int
    repository_provenance: bool
    repository_compression: str
    repository_sqlite: bool
    web_host: str
    web_port: int
    web_public_url: str
    web_database_url: str = field(repr=False)
    web_admin_user: str
    web_cli_config: Path
    web_max_upload: int
    web_upload_rate: int
    web_hook_rate: int
    web_token_days: int
    web_distgit: tuple[str, ...]
    web_hook_networks: tuple[str, ...]
    signing_backend: str
    signing_key_type: str
    signing_key_days: int
    signing_keep_days: int
    signing_passphrase_file: Path | str
    signing_timeout: int
    signing_domain: str
    signing_program: Path
    signing_keygen_host: str
    webhook_url: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    webhook_timeout: int
    webhook_give_up: int
    prune_keep: int
    prune_keep_project: Mapping[str, int]
    prune_log_days: int
    prune_eol: Mapping[str, date]
    prune_eol_days: int
    prune_every: int
    hosts_transport: str
    hosts_check_interval: int
    hosts_check_timeout: int
    hosts_quarantine_after: int
    hosts_spawn_timeout: int
    hosts_command_timeout: int
    hosts_sweep_interval: int
    hosts_prefix: str

    @property
    def embedded(self) -> bool:
        """True when the master starts its own frontend."""
        return not self.frontend_base_url

    @property
    def listen_url(self) -> str:
        """Where the embedded frontend answers on this machine."""
        any_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)
        host = any_address.get(self.web_host, self.web_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.web_port}"

    @property
    def frontend_url(self) -> str:
        """Base URL of the frontend in use, real or embedded, without a final slash."""
        return self.frontend_base_url.rstrip("/") or self.listen_url

    @property
    def public_url(self) -> str:
        """Base URL that people and copr-cli use, without a final slash."""
        return (self.web_public_url or self.listen_url).rstrip("/")

    @property
    def results_url(self) -> str:
        """Base URL of the published results, without a final slash."""
        return (self.results_baseurl or f"{self.public_url}/results").rstrip("/")


def load(path: Path, overrides: Mapping[str, str] | None = None) -> Config:
    """Read and check the file at `path`.

    `overrides` are `section.key` → text, as from `-o web.port=5001`; they win over the file.
    Raises ConfigError that names the file, the key and the remedy, for all problems at once.
    """
    known = frozenset(f"{option.section}.{option.name}" for option in OPTIONS if not option.group)
    raw, notes = translate(sections(path, overrides or {}), known)
    return _build(path, raw, notes)


def _build(path: Path, raw: Mapping[str, Mapping[str, str]], notes: list[str]) -> Config:
    problems = list(wrong_names(path, raw))
    values: dict[str, Any] = {}
    for option in OPTIONS:
        if not option.group:
            text = raw.get(option.section, {}).get(option.name, option.default)
            values[option.attribute] = _value(path, option, option.name, text, problems)
    values["web_cli_config"] = values["web_cli_config"] or values["statedir"] / "copr-cli.conf"
    groups = tuple(
        _group(path, number, raw.get("backend", {}), values["max_workers"], problems)
        for number in range(values["build_groups"])
    )
    notes += idle_groups(raw.get("backend", {}), len(groups))
    said = tuple(f"{path}: {note}" for note in notes)
    config = Config(path=path, groups=groups, notes=said, **values)
    for wrong in (
        wrong_distgit,
        wrong_urls,
        wrong_archs,
        wrong_places,
        wrong_signing,
        wrong_hosts,
    ):
        problems += wrong(config)
    if problems:
        error = ConfigError(*problems)
        error.repaired = config
        raise error
    return config


def _value(path: Path, option: Option, key: str, text: str, problems: list[str]) -> Any:
    """The option's value; a wrong one is noted, and its default stands in for it."""
    try:
        return convert(path, option, key, text)
    except ConfigError as error:
        problems.extend(error.problems)
        return convert(path, option, key, option.default)


def _group(
    path: Path, number: int, section: Mapping[str, str], max_workers: int, problems: list[str]
) -> Group:
    values: dict[str, Any] = {}
    for option in OPTIONS:
        if option.group:
            key = f"group{number}_{option.name}"
            text = section.get(key, option.default)
            values[option.name] = _value(path, option, key, text, problems) if text else None
    return Group(
        id=number,
        name=values["name"] or f"group{number}",
        archs=values["archs"] or (platform.machine(),),
        max_workers=max_workers if values["max_workers"] is None else values["max_workers"],
        **_pool(values),
    )


def _pool(values: Mapping[str, Any]) -> dict[str, Any]:
    """Where the group builds; what is not set keeps the default of `Group`."""
    own = ("name", "archs", "max_workers")
    found = {name: v for name, v in values.items() if name not in own and v is not None}
    machines = found.get("spawn_command") or found.get("resalloc_connection")
    return {**found, "hosts": found.get("hosts") or (() if machines else ("local",))}
