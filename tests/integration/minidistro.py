"""A distribution of one RPM: a debootstrapped Debian that can build packages, packed as it is.

It has dnf, so that it can be its own bootstrap root.
"""

import subprocess
from pathlib import Path

PACKAGES = (
    "gcc make libc6-dev patch diffutils findutils gawk sed grep gzip bzip2 xz-utils tar cpio"
    " unzip util-linux rpm passwd file procps elfutils dnf dnf-plugins-core"
)
#: Not needed to build anything; and mock writes the configuration of dnf into a root by itself.
_DROP = (
    "usr/share/doc usr/share/man usr/share/locale usr/share/info var/lib/apt var/cache"
    " etc/dnf/dnf.conf"
)
#: Empty in a package: mock mounts something there.
_MOUNTS = ("dev", "proc", "sys", "run")
#: Debian's rpm keeps its database in the home directory.
_DBPATH = "%_dbpath /var/lib/rpm\n"

_SPEC = """\
%global __os_install_post %{{nil}}
%global _binary_payload w1.zstdio
%global _build_id_links none
%global debug_package %{{nil}}
Name: mini-distro
Version: 1
Release: 1
Summary: All that builds packages
License: MIT
AutoReqProv: no
Provides: bash rpm-build gcc make /bin/sh python3-dnf python3-dnf-plugins-core
%description
All that builds packages.
%install
cp -a {tree}/. %{{buildroot}}/
%files -f {files}
"""

_CONFIG = """\
config_opts['root'] = {root!r}
config_opts['target_arch'] = {arch!r}
config_opts['legal_host_arches'] = ({arch!r},)
config_opts['chroot_setup_cmd'] = 'install mini-distro'
config_opts['dist'] = 'mini1'
config_opts['package_manager'] = 'dnf4'
config_opts['releasever'] = '1'
config_opts['use_bootstrap'] = False
config_opts['macros']['%_dbpath'] = '/var/lib/rpm'
config_opts['dnf.conf'] = '''
[main]
keepcache=1
reposdir=/dev/null
gpgcheck=0
assumeyes=1
install_weak_deps=0
metadata_expire=0
best=1
module_platform_id=platform:mini1
protected_packages=
[mini]
name=mini
baseurl=file://{repo}
'''
"""


def make(where: Path, arch: str) -> Path:
    """Make it below `where`; returns the directory with mock's configuration `mini-1-<arch>.cfg`.

    Takes a minute or two, and a Debian mirror.
    """
    tree, repo, configs = where / "tree", where / "repo", where / "configs"
    include = ",".join(PACKAGES.split())
    _run("debootstrap", "--variant=minbase", f"--include={include}", "stable", str(tree))
    (tree / "etc" / "rpm").mkdir(exist_ok=True)
    (tree / "etc" / "rpm" / "macros").write_text(_DBPATH)
    (where / "files").write_text("".join(_files(tree)))
    (where / "mini.spec").write_text(_SPEC.format(tree=tree, files=where / "files"))
    defines = {
        "_topdir": where / "top",
        "_rpmdir": repo,
        "_unpackaged_files_terminate_build": 0,
        "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    }
    options = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    _run("rpmbuild", "-bb", *options, str(where / "mini.spec"))
    _run("createrepo_c", str(repo))
    configs.mkdir()
    name = f"mini-1-{arch}"
    text = _CONFIG.format(root=name, arch=arch, repo=repo)
    (configs / f"{name}.cfg").write_text(text)
    return configs


def _files(tree: Path) -> list[str]:
    lines = ["%defattr(-,root,root)\n"]
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        dropped = any(name == one or name.startswith(f"{one}/") for one in _DROP.split())
        mounted = "/" in name and name.split("/")[0] in _MOUNTS
        if not dropped and not mounted:
            kind = "%dir " if path.is_dir() and not path.is_symlink() else ""
            lines.append(f'{kind}"/{name.replace("%", "%%")}"\n')
    return lines


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv[0], done.stdout[-2000:], done.stderr[-2000:])
