"""Makes and removes the trees in `statedir/roots`: debootstrap or dnf, on behalf of an admin.

Everything happens in a new directory beside the root's own, which counts once `about.json` names
it. Who is killed in between leaves a directory that nobody has locked: the next one removes it.
Neither programs nor mounts survive: both tools run in process and mount namespaces of their own.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.builders import roots
from backend.builders.installer import COUNT, SHIFT
from backend.chroot import Chroot
from backend.config import Config
from backend.exceptions import CoprBackendError
from backend.process import Child, find, run

TIMEOUT = 2 * 3600.0
#: What a package build needs besides a minimal system.
DEBIAN = (
    "build-essential bzip2 cpio debugedit elfutils file gawk pkg-config rpm rpm2cpio unzip"
    " xz-utils zip zstd"
)
RPM = (
    "bash bzip2 coreutils cpio diffutils dnf dnf-plugins-core findutils gawk gcc gcc-c++ grep gzip"
    " make patch redhat-rpm-config rpm-build sed tar unzip util-linux which xz"
)
#: Release → suite, for debootstrap.
SUITES = {
    ("debian", "11"): "bullseye", ("debian", "12"): "bookworm", ("debian", "13"): "trixie",
    ("debian", "sid"): "sid", ("ubuntu", "22.04"): "jammy", ("ubuntu", "24.04"): "noble",
}  # fmt: skip
MIRRORS = {"debian": "http://deb.debian.org/debian", "ubuntu": "http://archive.ubuntu.com/ubuntu"}
_DEB_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "i386": "i386", "ppc64le": "ppc64el"}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a root is made of. `repos` are URLs for dnf; without any it is debootstrap's."""

    suite: str = ""
    mirror: str = ""
    repos: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    gpgkey: str = ""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> "Order":
        """The order that a root was made by."""
        order = about.get("order", {})
        return cls(
            suite=str(order.get("suite", "")),
            mirror=str(order.get("mirror", "")),
            repos=tuple(order.get("repos", ())),
            packages=tuple(order.get("packages", ())),
            gpgkey=str(order.get("gpgkey", "")),
        )


def make(config: Config, name: str, order: Order) -> Path:
    """Make the root of chroot `name`, or make it anew; returns its tree.

    Raises CoprBackendError; the root that was there before then stays as it is.
    """
    chroot = Chroot.parse(name)
    if os.geteuid() != 0:
        raise CoprBackendError("only root can make a root: use sudo, or unpack a tree yourself")
    home = roots.directory(config) / name
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    sweep(home)
    tree = Path(tempfile.mkdtemp(prefix=f"tree-{time.strftime('%Y%m%d')}-", dir=home))
    tree.chmod(0o755)
    with _locked(tree) as alone:
        assert alone
        try:
            if order.repos:
                _dnf(tree, chroot, order)
            else:
                order = _debootstrap(tree, chroot, order)
            _tidy(tree)
            _shift(tree)
            _declare(home, tree, order)
        except BaseException:
            _remove(tree)
            with contextlib.suppress(OSError):
                home.rmdir()
            raise
    sweep(home)
    return tree


def remove(config: Config, name: str) -> list[str]:
    """Remove a root; returns the trees that builds still use: `sweep` takes them later."""
    home = roots.directory(config) / name
    if not roots.read(home):
        raise CoprBackendError(f"there is no root {name} in {roots.directory(config)}")
    (home / roots.ABOUT).unlink()
    left = sweep(home)
    with contextlib.suppress(OSError):
        home.rmdir()
    return left


def sweep(home: Path) -> list[str]:
    """Remove the trees that neither count nor are in use; returns those that are in use."""
    about, left = roots.read(home), []
    for path in sorted(home.glob("tree-*")):
        if path.name == about.get("tree"):
            continue
        with _locked(path) as alone:
            if alone:
                _remove(path)
            else:
                left.append(path.name)
    for path in home.glob(f"{roots.ABOUT}.*"):
        path.unlink(missing_ok=True)
    return left


def retire(config: Config, tree: Path | None) -> None:
    """A build that used the tree has ended: remove it if it does not count any more, and nobody
    else uses it. Trees that are not of `root make` stay. What cannot be done now is done by the
    next `root` command for it: the build is not to suffer."""
    if tree is None or tree.parent.parent != roots.directory(config):
        return
    if roots.read(tree.parent).get("tree") == tree.name or not tree.exists():
        return
    with contextlib.suppress(OSError, CoprBackendError):
        with _locked(tree) as alone:
            if alone:
                _remove(tree)
        tree.parent.rmdir()


@contextlib.contextmanager
def _locked(tree: Path) -> Iterator[bool]:
    """True if nobody else uses the tree."""
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _debootstrap(tree: Path, chroot: Chroot, order: Order) -> Order:
    suite = order.suite or SUITES.get((chroot.os, chroot.version), "")
    if not suite:
        known = ", ".join(f"{system}-{version}" for system, version in SUITES)
        raise CoprBackendError(
            f"no suite is known for {chroot.name_release} (known: {known}):"
            " name it with --suite, or with --repo the repositories to install from"
        )
    mirror = order.mirror or MIRRORS.get(chroot.os, MIRRORS["debian"])
    packages = [*DEBIAN.split(), *order.packages]
    argv = [find("debootstrap"), "--variant=minbase", f"--include={','.join(packages)}"]
    if chroot.arch in _DEB_ARCH:
        argv.append(f"--arch={_DEB_ARCH[chroot.arch]}")
    if chroot.os == "ubuntu":
        argv.append("--components=main,universe")
    _run([*argv, suite, str(tree), mirror])
    return Order(suite=suite, mirror=mirror, packages=order.packages)


def _dnf(tree: Path, chroot: Chroot, order: Order) -> None:
    repos = tree / "etc/yum.repos.d"
    repos.mkdir(parents=True)
    for number, url in enumerate(order.repos):
        lines = [f"[root-{number}]", f"name=root {number}", f"baseurl={url}"]
        lines += [f"gpgcheck={int(bool(order.gpgkey))}", f"gpgkey={order.gpgkey}"]
        (repos / f"root-{number}.repo").write_text("\n".join(lines) + "\n")
    packages = order.packages or tuple(RPM.split())
    argv = [find("dnf"), "-y", f"--installroot={tree}", f"--setopt=reposdir={repos}"]
    argv += [f"--releasever={chroot.version}", f"--forcearch={chroot.arch}"]
    argv += ["--setopt=install_weak_deps=False", "--setopt=keepcache=False"]
    argv += [f"--setopt=cachedir={tree}/var/cache/dnf", "install", *packages]
    _run(argv)


def _run(argv: Sequence[str]) -> None:
    """Run a tool with its output on our own stderr; whatever it starts or mounts ends with it."""
    inside = 'mount -t proc proc /proc && "$@"; exit $?'
    outer = [find("unshare"), "--mount", "--propagation", "private", "--pid", "--fork"]
    outer += ["--kill-child", "--", find("sh"), "-c", inside, "sh"]
    with Child([*outer, *argv], stdout=sys.stderr.fileno(), cwd=Path("/")) as child:
        code = child.wait(TIMEOUT)
    if code is None:
        raise CoprBackendError(f"{Path(argv[0]).name} did not end within {TIMEOUT:g} s")
    if code:
        raise CoprBackendError(f"{Path(argv[0]).name} failed (exit code {code}): see above")


def _tidy(tree: Path) -> None:
    """Without caches, device nodes, set-user-id bits, or what would let a build see this host."""
    for name in ("var/cache/apt/archives", "var/lib/apt/lists", "var/cache/dnf", "tmp", "dev"):
        path = tree / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(mode=0o755)
    for name in ("etc/resolv.conf", "etc/hostname", "etc/machine-id"):
        with contextlib.suppress(OSError):
            (tree / name).unlink()
    argv = ["find", str(tree), "-xdev", "-type", "f", "-perm", "/6000", "-exec", "chmod", "ug-s"]
    run([find("find"), *argv[1:], "--", "{}", "+"], timeout=600)
    if not (tree / "usr/bin/rpmbuild").exists():
        raise CoprBackendError("the new root has no rpmbuild: add the package that brings it")


def _shift(tree: Path) -> None:
    """Give the tree to the users of the namespace that layers are made in: nobody, outside."""
    for path in _everything(tree):
        info = path.lstat()
        if info.st_uid < COUNT and info.st_gid < COUNT:
            os.chown(path, SHIFT + info.st_uid, SHIFT + info.st_gid, follow_symlinks=False)


def _everything(tree: Path) -> Iterator[Path]:
    yield tree
    for where, directories, files in os.walk(tree):
        yield from (Path(where, name) for name in (*directories, *files))


def _declare(home: Path, tree: Path, order: Order) -> None:
    """From now on this is the tree of the root."""
    about = {
        "tree": tree.name,
        "made": int(time.time()),
        "shift": SHIFT,
        "order": {
            "suite": order.suite,
            "mirror": order.mirror,
            "repos": list(order.repos),
            "packages": list(order.packages),
            "gpgkey": order.gpgkey,
        },
    }
    new = home / f"{roots.ABOUT}.{os.getpid()}"
    with new.open("w", encoding="utf-8") as file:
        json.dump(about, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.sync()
    new.rename(home / roots.ABOUT)


def _remove(tree: Path) -> None:
    """A tree that nobody uses. Nothing is mounted in it: what was, was in another namespace."""
    shutil.rmtree(tree, ignore_errors=True)
    if tree.exists():
        run([find("rm"), "-rf", "--one-file-system", "--", str(tree)], timeout=600)
