"""The configuration that mock gets: executed here as mock would, and read back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.builders import BuildRequest, Buildroot, mockconfig, reproducible
from backend.builders.mockconfig import Setup, Site
from backend.chroot import Chroot
from backend.exceptions import BuildError

CHROOT = Chroot.parse("fedora-41-x86_64")
SITE = Site(
    include="/etc/mock/fedora-41-x86_64.cfg",
    basedir="/var/lib/mock",
    isolation="nspawn",
    lone=False,
    slot=3,
)
REPO = {"id": "copr_base", "name": "Copr repository", "baseurl": "https://copr.example.org/r/"}


def request(**settings: Any) -> BuildRequest:
    names = ("enable_net", "with_opts", "reproducible")
    own = {name: settings.pop(name) for name in names if name in settings}
    return BuildRequest(
        srpm=Path("/x.src.rpm"),
        chroot=CHROOT,
        workdir=Path("/w"),
        slot=3,
        timeout=100,
        stall_timeout=10,
        max_log=1000,
        buildroot=Buildroot(**settings),
        **own,
    )


def made(site: Site = SITE, **settings: Any) -> Setup:
    return mockconfig.make(request(**settings), site)


def execute(text: str, options: dict[str, Any], include: Callable[[str], object]) -> None:
    """As mock does: with variables that only the outermost lines see."""
    exec(text, {}, {"config_opts": options, "include": include})


def executed(site: Site = SITE, **settings: Any) -> dict[str, Any]:
    """What mock's options are after the distribution's configuration and ours."""
    options: dict[str, Any] = {
        "root": "fedora-41-{{ target_arch }}",
        "cache_topdir": "/var/cache/mock",
        "plugin_conf": {"root_cache_opts": {"dir": "{{cache_topdir}}/{{root}}/root_cache/"}},
        "nspawn_args": ["--capability=cap_ipc_lock"],
        "dnf.conf": "[main]\n",
        "chroot_additional_packages": "",
    }
    included: list[str] = []
    execute(made(site, **settings).text, options, included.append)
    assert included == [SITE.include]
    return options


def test_no_settings_are_the_distributions_own() -> None:
    options = executed()
    assert options["dnf.conf"] == "[main]\n"
    assert options["chroot_additional_packages"] == ""
    assert "use_bootstrap" not in options
    assert options["isolation"] == "nspawn"
    assert options["rpmbuild_networking"] is False
    assert options["basedir"] == "/var/lib/mock"


def test_repositories_have_all_that_the_task_says() -> None:
    repo = REPO | {"priority": 5, "module_hotfixes": True, "repo_gpgcheck": True}
    section = executed(repos=(repo,))["dnf.conf"].removeprefix("[main]\n")
    assert section.split("\n") == [
        "",
        "[copr_base]",
        "name=Copr repository",
        "baseurl=https://copr.example.org/r/",
        "gpgcheck=0",
        "repo_gpgcheck=1",
        "enabled=1",
        "skip_if_unavailable=0",
        "metadata_expire=0",
        "cost=1",
        "best=1",
        "priority=5",
        "module_hotfixes=1",
        "",
    ]


def test_repositories_go_where_the_distribution_keeps_its_own() -> None:
    options: dict[str, Any] = {
        "yum.conf": "[main]\n",
        "cache_topdir": "/c",
        "plugin_conf": {"root_cache_opts": {}},
        "nspawn_args": [],
    }
    execute(made(repos=(REPO,)).text, options, str)
    assert "[copr_base]" in options["yum.conf"]
    assert "dnf.conf" not in options


def test_packages_are_added_to_those_of_the_distribution() -> None:
    assert executed(packages=("gcc-c++", "@tools"))["chroot_additional_packages"] == (
        "gcc-c++ @tools"
    )


def test_modules_become_commands() -> None:
    commands = executed(modules=("enable ruby:2.7, nodejs:20", "disable perl"))
    assert commands["module_setup_commands"] == [
        ("enable", "ruby:2.7, nodejs:20"),
        ("disable", "perl"),
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("on", {"use_bootstrap": True, "use_bootstrap_image": False}),
        ("off", {"use_bootstrap": False}),
        ("image", {"use_bootstrap": True, "use_bootstrap_image": True}),
        ("default", {}),
        ("unchanged", {}),
    ],
)
def test_bootstrap(word: str, expected: dict[str, bool]) -> None:
    options = executed(bootstrap=word)
    got = {k: v for k, v in options.items() if k.startswith("use_bootstrap")}
    assert got == expected


def test_custom_bootstrap_image() -> None:
    options = executed(bootstrap="custom_image", bootstrap_image="registry.example.org/f:41")
    assert options["bootstrap_image"] == "registry.example.org/f:41"
    assert options["use_bootstrap_image"] is True


def test_network_only_when_asked_for() -> None:
    options = executed(enable_net=True)
    assert options["rpmbuild_networking"] is True
    assert options["use_host_resolv"] is True


def test_nspawn_without_systemd_asks_for_no_scope() -> None:
    lone = Site(**{**vars(SITE), "lone": True})
    assert executed(lone)["nspawn_args"] == [
        "--capability=cap_ipc_lock",
        "--register=no",
        "--keep-unit",
    ]


def test_prepared_roots_are_shared_and_package_caches_are_not() -> None:
    options = executed()
    assert options["cache_topdir"] == "/var/cache/mock/copr-slot-3"
    shared = options["plugin_conf"]["root_cache_opts"]["dir"]
    assert shared == "/var/cache/mock/{{root}}/root_cache/"


def test_the_root_stands_for_what_is_installed_in_it() -> None:
    plain = made().root
    assert plain.startswith("copr-fedora-41-x86_64-")
    others = {
        made(packages=("git",)).root,
        made(repos=(REPO,)).root,
        made(modules=("enable a:b",)).root,
        made(bootstrap="off").root,
    }
    assert len(others | {plain}) == 5
    # None of these changes what is installed.
    same = made(Site(**{**vars(SITE), "slot": 9, "isolation": "simple"}), enable_net=True)
    assert same.root == plain
    assert made(macros=(("buildtag", ".copr7"),)).root == plain


@pytest.mark.parametrize(
    "settings",
    [
        {"packages": ("{{7*7}}",)},
        {"packages": ("--installroot=/",)},
        {"packages": ("a b",)},
        {"packages": ("a'\nimport os",)},
        {"repos": (REPO | {"baseurl": "https://x/{{ config_opts }}/"},)},
        {"repos": (REPO | {"baseurl": "https://x/\ngpgcheck=0"},)},
        {"repos": (REPO | {"baseurl": ""},)},
        {"repos": (REPO | {"priority": "many"},)},
        {"modules": ("install; rm -rf /",)},
        {"modules": ("eval x",)},
        {"bootstrap": "custom_image", "bootstrap_image": "{% set x %}"},
        {"bootstrap": "custom_image", "bootstrap_image": ""},
        {"macros": (("bad name", "x"),)},
        {"macros": (("name", "two\nlines"),)},
    ],
)
def test_what_mock_or_dnf_would_misunderstand_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="refused"):
        made(**settings)


def test_names_cannot_break_out_of_their_section() -> None:
    repo = REPO | {"id": "x]\n[main", "name": "a\nexclude=*\n{{x}}"}
    section = executed(repos=(repo,))["dnf.conf"]
    assert "[x___main]" in section
    assert "\nexclude" not in section
    assert "{{" not in section


def test_macros_stay_out_of_the_templates() -> None:
    setup = made(macros=(("vendor", "Copr {{7*7}}"), ("buildtag", ".copr7")))
    assert setup.macros == reproducible.macros() + "%vendor Copr {{7*7}}\n%buildtag .copr7\n"
    assert "7*7" not in setup.text


def test_reproducible_builds_get_their_time_from_the_source() -> None:
    assert "%_buildhost copr-backend\n" in made().macros
    assert made(reproducible=False).macros == ""
    assert "environment" not in executed(SITE)
    timed = executed(Site(**{**vars(SITE), "epoch": "1577923200"}))
    assert timed["environment"] == {"SOURCE_DATE_EPOCH": "1577923200"}


def test_options_of_rpmbuild() -> None:
    assert mockconfig.options(request(with_opts=("tests",))) == ["--with", "tests"]
    with pytest.raises(BuildError, match="refused"):
        mockconfig.options(request(with_opts=("a --rebuild b",)))


@pytest.mark.parametrize(
    ("wanted", "default", "nspawn", "systemd", "expected"),
    [
        ("", "auto", True, True, "nspawn"),
        ("default", "auto", True, False, "simple"),
        ("unchanged", "nspawn", True, False, "nspawn"),
        ("nspawn", "simple", True, False, "nspawn"),
        ("nspawn", "simple", False, False, "simple"),
        ("simple", "nspawn", True, True, "simple"),
        ("something", "nspawn", True, True, "nspawn"),
    ],
)
def test_isolation(wanted: str, default: str, nspawn: bool, systemd: bool, expected: str) -> None:
    assert mockconfig.isolation(wanted, default, nspawn=nspawn, systemd=systemd) == expected
