"""The packages of this tree: the farm builds the RPM, and what is in it works."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from backend import __version__
from backend.arguments import parser
from backend.manpage import commands, render
from tests.integration.farm import running

TOP = Path(__file__).parents[2]


def output(*command: str, **more: str) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=300, env={**os.environ, **more}
    ).stdout


def test_every_place_names_the_same_version() -> None:
    spec = (TOP / "copr-backend.spec").read_text()
    assert re.search(r"^Version: +(\S+)$", spec, re.MULTILINE)[1] == __version__  # type: ignore[index]
    assert f"- {__version__}-1\n" in spec.partition("%changelog")[2]
    assert f"copr-backend {__version__}" in render(parser())


def test_the_spec_asks_for_what_setup_py_asks_for() -> None:
    """Names and least versions, but for retask, which is bundled."""
    setup = (TOP / "setup.py").read_text()
    wanted = dict(re.findall(r'^ +"([a-z0-9-]+)(?:\[.*\])?>=([0-9.]+)"', setup, re.MULTILINE))
    spec = (TOP / "copr-backend.spec").read_text()
    given = dict(re.findall(r"^Requires: +python3dist\((.+?)\) >= (\S+)$", spec, re.MULTILINE))
    assert "Provides:       bundled(python3dist(retask))" in spec
    assert len(given) > 10
    for name, version in given.items():
        assert wanted[name].removesuffix(".0") == version, name
    block = setup.partition("install_requires=[")[2].partition("]")[0]
    needed = {*re.findall(r'"([a-z0-9-]+)>', block)} - {"retask"}
    needed |= set(re.findall(r'"([a-z0-9-]+)>', setup.partition("WEB = [")[2].partition("]")[0]))
    assert given.keys() == needed


def test_the_manual_page_names_every_command_and_option() -> None:
    page = render(parser()).replace("\\-", "-")
    for name, (sub, _) in commands(parser()).items():
        assert f".SS {name}\n.B copr_be.py {name}" in page
        for action in sub._actions:
            assert all(f"\\fB{word}\\fR" in page for word in action.option_strings)
    for line in render(parser()).splitlines():
        assert re.fullmatch(r"\.(TH|SH|SS|TP|PP|B|nf|fi|\\\")( .*)?|[^.'].*", line), line


@pytest.fixture(scope="module")
def srpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("srpm")
    made = output(f"{TOP}/packaging/srpm.sh", str(where), PYTHON=sys.executable)
    return Path(made.strip())


@pytest.mark.rpmbuild
def test_the_source_package_is_the_tree(srpm: Path, tmp_path: Path) -> None:
    command = (
        f"cd {tmp_path} && rpm2cpio {srpm} | cpio -idm --quiet && tar xzf copr-backend-*.tar.gz"
    )
    output("sh", "-c", command)
    (tree,) = tmp_path.glob("copr-backend-*/")
    assert (tree / "backend/cli.py").read_bytes() == (TOP / "backend/cli.py").read_bytes()
    assert not list(tree.rglob("__pycache__"))


@pytest.mark.rpmbuild
@pytest.mark.redis
@pytest.mark.createrepo
def test_the_farm_builds_its_own_package(srpm: Path, tmp_path: Path) -> None:
    with running() as farm:
        farm.create()
        build = farm.submit(srpm)
        assert farm.wait(build, seconds=110) == "succeeded", farm.api("GET", f"build/{build}")
        (rpm,) = (farm.top / "results").rglob("copr-backend-*.noarch.rpm")
        listing = output("rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", str(rpm))
        scripts = output("rpm", "-qp", "--scripts", str(rpm))
        kept = output("rpm", "-qp", "--configfiles", str(rpm)).split()
        output("sh", "-c", f"cd {tmp_path} && rpm2cpio {rpm} | cpio -idm --quiet")
        rpm_copy = Path(shutil.copy(rpm, tmp_path))
    modes = {path: mode for mode, path in (line.split() for line in listing.splitlines())}
    assert modes["/usr/bin/copr_be.py"] == "-rwxr-xr-x"
    assert modes["/etc/copr/copr-be.conf"] == "-rw-r-----"
    for path in (
        "/usr/lib/systemd/system/copr-backend.service",
        "/usr/lib/tmpfiles.d/copr-backend.conf",
        "/usr/lib/sysusers.d/copr-backend.conf",
        "/usr/lib/copr-backend/backend/web/templates/project.html",
        "/usr/lib/copr-backend/backend/web/migrations/script.py.mako",
        "/usr/lib/copr-backend/retask/__init__.py",
    ):
        assert modes[path] == "-rw-r--r--"
    assert {path for path in modes if "/man8/copr_be.8" in path}
    assert sorted(kept) == ["/etc/copr/copr-be.conf", "/etc/logrotate.d/copr-backend"]
    for word in ("systemd-sysusers", "systemd-tmpfiles", "preset", "disable --now", "try-restart"):
        assert word in scripts
    unit = (tmp_path / "usr/lib/systemd/system/copr-backend.service").read_text()
    assert "ExecStart=/usr/bin/copr_be.py -c /etc/copr/copr-be.conf\n" in unit
    home = tmp_path / "usr/lib/copr-backend"
    shipped = {str(path.relative_to(home)) for path in home.rglob("*.py")} - {
        str(path.relative_to(home)) for path in home.glob("retask/*.py")
    }
    assert shipped == {str(path.relative_to(TOP)) for path in (TOP / "backend").rglob("*.py")}
    launcher = tmp_path / "usr/bin/copr_be.py"
    launcher.write_text(launcher.read_text().replace('"/usr/lib', f'"{tmp_path}/usr/lib'))
    run = [sys.executable, "-B", str(launcher)]
    assert output(*run, "--version", PYTHONPATH="") == f"copr-backend {__version__}\n"
    conf = tmp_path / "etc/copr/copr-be.conf"
    done = subprocess.run([*run, "-c", str(conf), "-o", f"backend.rundir={tmp_path}/run", "status"],
                          check=False, capture_output=True, text=True, cwd="/")  # fmt: skip
    assert (done.returncode, done.stdout.partition("\n")[0]) == (3, "copr-backend: not running")
    assert {name.removesuffix(".gz") for name in modes if not name.startswith(OWN)} == deb_files()
    if os.geteuid() == 0:
        installs_into_a_root(rpm_copy, tmp_path / "root")


#: Where each package has its program and its documentation: not the same files.
OWN = ("/usr/lib/copr-backend", "/usr/share/doc/", "/usr/share/licenses/")


def deb_files() -> set[str]:
    """What the Debian package installs beside its program, as RPM names it."""
    script = (TOP / "packaging/deb.sh").read_text() + (TOP / "conf/install.sh").read_text()
    given = dict(re.findall(r"\b([A-Z]+DIR)=(/usr/[\w/.-]+)", script))
    listed = script.partition("\nfiles() {")[2].partition("\n}")[0]
    names = re.findall(r'echo "?([^"\n]+)"?$', listed, re.MULTILINE)
    unit = {"unit": "copr-backend.service"}
    found = {re.sub(r"\$(\w+)", lambda word: {**given, **unit}[word[1]], name) for name in names}
    return found | {"/etc/copr", "/etc/copr/copr-be.conf"}


#: Files of users and groups, with their locks and the copies of before.
ACCOUNTS = re.compile(r"etc/(\.pwd\.lock|(passwd|group|g?shadow)-?)")


def installs_into_a_root(rpm: Path, root: Path) -> None:
    """With a database of its own: installed, intact, upgraded with the owner's words kept, gone."""
    root.mkdir()
    program = ["rpm", "--root", str(root), "--dbpath", "/var/lib/rpm"]
    alone = ("--nodeps", "--noscripts")  # there is nothing else in that root
    output(*program, "-i", *alone, str(rpm))
    assert output(*program, "-V", "--nodeps", "copr-backend") == ""
    assert output(*program, "-q", "copr-backend").startswith(f"copr-backend-{__version__}-1")
    owners = output(*program, "-q", "--qf", "[%{FILEUSERNAME}:%{FILEGROUPNAME}\n]", "copr-backend")
    assert set(owners.split()) == {"root:root"}
    conf = root / "etc/copr/copr-be.conf"
    assert stat.S_IMODE(conf.stat().st_mode) == 0o640
    conf.write_text(conf.read_text() + "# mine\n")
    output(*program, "-U", "--force", *alone, str(rpm))
    assert conf.read_text().endswith("# mine\n")
    output(*program, "-e", *alone, "copr-backend")
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    # rpm from 4.19 on makes the users of sysusers.d itself, and leaves them: files may be theirs.
    accounts = {name for name in left if ACCOUNTS.fullmatch(name)}
    if accounts:
        assert re.findall("^[^:]+", (root / "etc/passwd").read_text(), re.M) == ["copr-backend"]
    assert {name for name in left - accounts if not name.startswith("var/lib/rpm/")} == {
        "etc/copr/copr-be.conf.rpmsave"
    }


#: What each dependency of the Debian package is called in Fedora.
FEDORA = {
    "bubblewrap": "bubblewrap",
    "cpio": "cpio",
    "createrepo-c": "createrepo_c",
    "file": "rpm-build",
    "git": "git-core",
    "gnupg": "gnupg2",
    "openssh-client": "openssh-clients",
    "python3": "python3",
    "redis-server | valkey-server": "(valkey-compat-redis or redis)",
    "rpm": "rpm-build",
    "rpm2cpio": "rpm-build",
    "systemd": "systemd",
    "util-linux": "util-linux",
}


def test_both_packages_ask_for_the_same_programs() -> None:
    control = (TOP / "packaging/debian/control").read_text()
    spec = (TOP / "copr-backend.spec").read_text()
    for debian, fedora in (("Depends", "Requires"), ("Recommends", "Recommends")):
        words = re.search(rf"^{debian}: (.+)$", control, re.MULTILINE)[1].split(", ")  # type: ignore[index]
        names = {re.sub(r" \(.*\)", "", word) for word in words} - {"init-system-helpers"}
        asked = set(re.findall(rf"^{fedora}: +(\(.+\)|[\w-]+)", spec, re.MULTILINE))
        # signing is a package of its own there, and mock does not exist in Debian
        assert asked - {"python3dist", "rpm-sign", "mock"} == {FEDORA[name] for name in names}


def test_the_debian_package_is_described_completely() -> None:
    control = (TOP / "packaging/debian/control").read_text()
    for field in ("Package", "Version", "Architecture", "Maintainer", "Depends", "Description"):
        assert re.search(rf"^{field}: \S", control, re.MULTILINE), field
    for script in ("postinst", "prerm", "postrm"):
        path = TOP / "packaging/debian" / script
        output("sh", "-n", str(path))
        assert path.read_text().startswith("#!/bin/sh\nset -e\n")
    text = (TOP / "packaging/deb.sh").read_text()
    for name in re.findall(r"@([A-Z]+)@", control):
        assert f"@{name}@" in text
