"""The configuration that mock gets: the distribution's own, and on top what a task asks for.

Pure. mock executes the file as Python, hence every value is written with `repr`; and it expands
every string as a Jinja template until nothing changes any more, hence values that look like one
are refused. Macros go into a file of their own, which mock does not expand.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.builders import BuildRequest, reproducible
from backend.exceptions import BuildError

#: Words of the frontend that mean: as the configuration says.
UNSET = ("", "default", "unchanged")
BOOTSTRAPS: Mapping[str, Mapping[str, bool]] = {
    "on": {"use_bootstrap": True, "use_bootstrap_image": False},
    "off": {"use_bootstrap": False},
    "image": {"use_bootstrap": True, "use_bootstrap_image": True},
    "custom_image": {"use_bootstrap": True, "use_bootstrap_image": True},
}
ISOLATIONS = ("auto", "nspawn", "simple")

_PACKAGE = re.compile(r"[@A-Za-z0-9_/(][A-Za-z0-9._+~^:@/()*=<>-]*")
_MODULE = re.compile(r"[A-Za-z0-9._+~^:/*-]+")
_MODULE_VERBS = ("enable", "disable", "install", "reset", "remove", "switch-to")
_REPO_ID = re.compile(r"[^A-Za-z0-9._:-]")
_OPTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+.-]*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]*")
_URL = re.compile(r"(?:https?|ftp|file)://\S+|/\S+")


@dataclass(frozen=True, kw_only=True)
class Site:
    """How mock is to run on this machine.

    `include` is the distribution's configuration of the chroot. `isolation` is `nspawn` or
    `simple`. `lone` says that nspawn cannot ask systemd for a scope. `slot` has a package cache
    of its own, so that builds do not wait for one another's downloads. `epoch` is SOURCE_DATE_EPOCH
    where rpm does not find it itself.
    """

    include: str
    basedir: str
    isolation: str
    lone: bool
    slot: int
    epoch: str = ""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What mock is started with: configuration and macros as text, and the name of its root.

    The root is named after all that decides what is in it, because mock keeps a prepared copy
    under that name, and would give it to everybody who uses the name.
    """

    root: str
    text: str
    macros: str


def make(request: BuildRequest, site: Site) -> Setup:
    """The configuration for one request; raises BuildError for values that cannot be meant."""
    content = _content(request)
    body = "".join(f"{line}\n" for line in content)
    key = hashlib.sha256(f"{site.include}\n{body}".encode()).hexdigest()[:12]
    root = f"copr-{request.chroot}-{key}"
    lines = [
        f"include({site.include!r})",
        f"config_opts['root'] = {root!r}",
        f"config_opts['basedir'] = {site.basedir!r}",
        *_caches(site.slot),
        *content,
        *_manners(request, site),
    ]
    text = "# Made for one build; the name of the root stands for what is installed in it.\n"
    text += "".join(f"{line}\n" for line in lines)
    return Setup(root=root, text=text, macros=_macros(request))


def isolation(wanted: str, default: str, *, nspawn: bool, systemd: bool) -> str:
    """`nspawn` or `simple`: what the task wants, else `default`, as far as the machine can.

    `nspawn` says that the program is there, `systemd` that the machine was booted with it;
    `auto` takes nspawn when both are. mock's own guess would be silent about it.
    """
    word = wanted if wanted in ISOLATIONS else default
    if word == "auto":
        word = "nspawn" if nspawn and systemd else "simple"
    return word if nspawn else "simple"


def options(request: BuildRequest) -> list[str]:
    """`--with` and `--without` of mock's command line."""
    words = []
    for option, names in (("--with", request.with_opts), ("--without", request.without_opts)):
        for name in names:
            words += [option, _checked(name, _OPTION, f"rpmbuild option {option}")]
    return words


def _content(request: BuildRequest) -> list[str]:
    """The lines that decide what is installed into the root."""
    root = request.buildroot
    lines = []
    if root.bootstrap not in UNSET:
        for name, value in BOOTSTRAPS.get(root.bootstrap, {}).items():
            lines.append(f"config_opts[{name!r}] = {value!r}")
    if root.bootstrap == "custom_image":
        image = _checked(root.bootstrap_image, _IMAGE, "bootstrap image")
        lines.append(f"config_opts['bootstrap_image'] = {image!r}")
    modules = [command for line in root.modules for command in _module(line)]
    if modules:
        lines.append(f"config_opts['module_setup_commands'] = {modules!r}")
    if root.packages:
        packages = " ".join(_checked(name, _PACKAGE, "package") for name in root.packages)
        lines += [
            "_more = config_opts.get('chroot_additional_packages') or ''",
            "_more = _more if isinstance(_more, str) else ' '.join(_more)",
            f"config_opts['chroot_additional_packages'] = (_more + {' ' + packages!r}).strip()",
        ]
    sections = "".join(map(_section, root.repos, repo_ids(request)))
    if sections:
        names = ("dnf.conf", "dnf5.conf", "yum.conf")
        lines += [
            # No function and no generator: mock executes it where those see no variables.
            "_conf = 'dnf.conf'",
            f"for _name in {names!r}:",
            "    if config_opts.get(_name):",
            "        _conf = _name",
            "        break",
            f"config_opts[_conf] += {sections!r}",
        ]
    return lines


def _caches(slot: int) -> list[str]:
    """Prepared roots are shared; package caches, which dnf locks, are each slot's own."""
    return [
        "_cache = config_opts['cache_topdir']",
        "config_opts['plugin_conf']['root_cache_opts']['dir'] = _cache + '/{{root}}/root_cache/'",
        f"config_opts['cache_topdir'] = _cache + '/copr-slot-{slot}'",
    ]


def _manners(request: BuildRequest, site: Site) -> list[str]:
    """What changes nothing about the content of the root."""
    lines = [
        "config_opts['print_main_output'] = True",
        "config_opts['dnf_warning'] = False",
        "config_opts['dev_loop_count'] = 0",
        "config_opts['cleanup_on_success'] = True",
        "config_opts['cleanup_on_failure'] = True",
        f"config_opts['isolation'] = {site.isolation!r}",
        f"config_opts['rpmbuild_networking'] = {request.enable_net!r}",
        f"config_opts['use_host_resolv'] = {request.enable_net!r}",
    ]
    if site.epoch:
        lines += [
            "_environment = config_opts.setdefault('environment', {})",
            f"_environment['SOURCE_DATE_EPOCH'] = {site.epoch!r}",
        ]
    if site.isolation == "nspawn" and site.lone:
        lines.append("config_opts['nspawn_args'] += ['--register=no', '--keep-unit']")
    return lines


def _module(line: str) -> list[tuple[str, str]]:
    verb, _, streams = line.strip().partition(" ")
    if verb not in _MODULE_VERBS:
        raise BuildError(
            f"module line {line[:80]!r} is refused: it must begin with"
            f" {', '.join(_MODULE_VERBS[:-1])} or {_MODULE_VERBS[-1]}"
        )
    names = [name for name in re.split(r"[ ,]+", streams) if name]
    return [(verb, ", ".join(_checked(name, _MODULE, "module") for name in names))]


def asked(request: BuildRequest) -> list[str]:
    """The names of packages and modules that the request wants in the root, as dnf says them."""
    streams = [line.strip().partition(" ")[2] for line in request.buildroot.modules]
    modules = [name for line in streams for name in re.split(r"[ ,]+", line)]
    packages = [name.lstrip("@") for name in request.buildroot.packages]
    return [name for name in [*packages, *modules] if name]


def repo_ids(request: BuildRequest) -> list[str]:
    """What dnf calls the repositories of the request."""
    return [
        _REPO_ID.sub("_", str(repo.get("id") or "")) or f"copr_repo_{number}"
        for number, repo in enumerate(request.buildroot.repos)
    ]


def _section(repo: Mapping[str, Any], identity: str) -> str:
    """One repository as dnf's configuration has it."""
    url = _checked(str(repo.get("baseurl") or ""), _URL, f"URL of repository {identity}")
    title = re.sub(r"[^\w .,:@/+()-]", "_", str(repo.get("name") or identity))[:200]
    checked = int(bool(repo.get("repo_gpgcheck")))
    fields = [("name", title), ("baseurl", url), ("gpgcheck", 0), ("repo_gpgcheck", checked)]
    fields += [("enabled", 1), ("skip_if_unavailable", 0), ("metadata_expire", 0), ("cost", 1)]
    fields += [("best", 1)]
    priority = repo.get("priority")
    if priority is not None:
        fields.append(("priority", _number(priority, identity)))
    if repo.get("module_hotfixes"):
        fields.append(("module_hotfixes", 1))
    return f"\n[{identity}]\n" + "".join(f"{key}={value}\n" for key, value in fields)


def _number(value: Any, identity: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise BuildError(
            f"priority {value!r:.40} of repository {identity} is refused: give a number"
        ) from None


def _macros(request: BuildRequest) -> str:
    """For mock's --macro-file: one definition each line."""
    lines = [reproducible.macros()] if request.reproducible else []
    for name, value in request.buildroot.macros:
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or not _one_line(value):
            raise BuildError(f"macro {name[:40]!r} is refused: one name, and one line of text")
        lines.append(f"%{name} {value}\n")
    return "".join(lines)


def _one_line(value: str) -> bool:
    return value.isprintable() and bool(value.strip())


def _checked(value: str, pattern: re.Pattern[str], what: str) -> str:
    """`value` itself, unless dnf would take it for something else, or mock would expand it."""
    templates: Sequence[str] = ("{{", "{%", "{#")
    if not pattern.fullmatch(value) or not value.isprintable():
        raise BuildError(f"{what} {value[:80]!r} is refused: correct it in the project")
    if any(mark in value for mark in templates):
        raise BuildError(f"{what} {value[:80]!r} is refused: mock would expand it as a template")
    return value
