"""Real packages with everything unusual that a spec can say, built on the spot."""

import os
import subprocess
from pathlib import Path

#: One spec: a main package and one subpackage for each oddity.
SPEC = r"""
%global _binary_payload w1.gzdio
%global __os_install_post %{nil}
%global debug_package %{nil}
Name: odd
Epoch: 3
Version: 1.0~rc1
Release: 2.el9^git
Summary: Main & "odd" <package> ünïcode → 漢字
License: MIT and (GPL-2.0-or-later OR BSD)
URL: https://example.org/?a=1&b="x"
Vendor: Odd & Söhne
Packager: Jane Doe <jane@example.org>
Group: Unspecified
BuildArch: noarch
Source0: one.txt
Source1: two words.txt
Provides: virtual = 2:3.4-5, virtual-bare, odd(ß) = 1
Provides: bundled(thing) = 1.2
Requires: /bin/sh, /etc/odd.conf, /usr/bin/odd, other >= 1.5, other < 2:3-4, other >= 1.5
Requires: virtual = 2:3.4-5
Requires(pre): shadow-utils
Requires(post): shadow-utils
Requires(preun): shadow-utils
Requires: (odd-a if odd-b), (odd-c or odd-d)
Conflicts: bad < 7
Obsoletes: old < 4:5-6, older
Recommends: rec, (rec2 if rec3)
Suggests: sug > 1
Supplements: sup
Enhances: enh = 0:1
%description
First line.

  Second, with	tab, & <tag> "quotes" 'more' é ü.
%package none
Summary: No files at all
%description none
%package symlinks
Summary: Symbolic links
Epoch: 0
%description symlinks
Links.
%package many
Summary: A long list
Requires: libc.so.6()(64bit), libc.so.6(GLIBC_2.2.5)(64bit), libc.so.6(GLIBC_2.34)(64bit)
Requires: libc.so.6(GLIBC_2.4)(64bit), libc.so.6(GLIBC_PRIVATE)(64bit), libm.so.6()(64bit)
Requires: libc.so.6(GLIBC_ABI_DT_RELR)(64bit)
%description many
Many files.
%package bits
Summary: 32 bits
Requires: libc.so.6, libc.so.6(GLIBC_2.0), libc.so.6(GLIBC_2.1.3)
%description bits
Old.
%package triggers
Summary: Triggers
%description triggers
Triggers.
%package kinds
Summary: Ghosts, documents, configuration, directories, modes
%description kinds
Kinds.
%package big
Summary: A large file
%description big
Large.
%prep
%build
%install
r=%{buildroot}
mkdir -p $r/etc/odd.d $r/usr/bin $r/usr/lib $r/usr/share/odd/many $r/opt/sbin $r/var/lib/odd
echo 1 > $r/etc/odd.conf; echo 2 > $r/usr/bin/odd; echo 3 > $r/usr/lib/sendmail
echo 4 > "$r/opt/sbin/with space & amp"; echo 5 > "$r/usr/share/odd/ümlaut-漢字"
echo 6 > "$r/usr/share/odd/quote\"s'<x>"; ln -s ../../usr/bin/odd $r/opt/sbin/link
ln -s nowhere $r/usr/share/odd/dangling; ln -s /usr/share $r/usr/share/odd/absolute
for n in $(seq 400); do echo $n > $r/usr/share/odd/many/file-number-$n-with-a-name; done
echo 7 > $r/usr/share/odd/README; touch $r/var/lib/odd/ghost; echo 8 > $r/usr/share/odd/setuid
dd if=/dev/urandom of=$r/usr/share/odd/big bs=1M count=3 2>/dev/null
%pre
true
%pretrans triggers
true
%posttrans triggers
true
%triggerin triggers -- other > 1
true
%filetriggerin triggers -- /usr/lib
true
%transfiletriggerpostun triggers -- /usr/share
true
%files
%config(noreplace) /etc/odd.conf
%dir /etc/odd.d
/usr/bin/odd
/usr/lib/sendmail
"/opt/sbin/with space & amp"
/usr/share/odd/ümlaut-漢字
/usr/share/odd/quote*
%files none
%files symlinks
/opt/sbin/link
/usr/share/odd/dangling
/usr/share/odd/absolute
%files many
/usr/share/odd/many
%files bits
%files triggers
%files kinds
%doc /usr/share/odd/README
%ghost /var/lib/odd/ghost
%ghost %dir /var/lib/odd
%attr(4755, root, root) /usr/share/odd/setuid
%files big
/usr/share/odd/big
%changelog
* Mon Jan 06 2025 Ünï Çode <u@example.org>  - 3:1.0-2
- <b>bold</b> & "quotes" → 漢字
- second	line

* Mon Jan 06 2025 Same Day <s@example.org> - 3:1.0-1
- the same time

* Mon Jan 06 2025 Same Day <s@example.org>
- and again
"""
#: Strings that are not UTF-8.
LATIN = """
Name: latin
Version: 1
Release: 1
Summary: Caf\xe9
License: MIT
BuildArch: noarch
%description
na\xefve
%install
mkdir -p %{buildroot}/opt
echo > %{buildroot}/opt/caf\xe9
%files
/opt/caf\xe9
%changelog
* Mon Jan 06 2025 Jos\xe9 <j@example.org> - 1-1
- d\xe9but
"""


def build(top: Path) -> list[Path]:
    """Twelve packages or so, in a second; sources among them."""
    top.mkdir(parents=True)
    sources = top / "SOURCES"
    sources.mkdir()
    (sources / "one.txt").write_text("1\n")
    (sources / "two words.txt").write_text("2\n")
    # rpm wants real weekdays, newest first.
    days = [f"\n* {day} 2020 A{n} <a@example.org> - 0-{n}\n- change {n}\n"
            for n, day in enumerate(("Mon Jan 06", "Mon Jan 06", "Sun Jan 05", "Sat Jan 04",
                                     "Fri Jan 03", "Thu Jan 02", "Wed Jan 01", "Wed Jan 01",
                                     "Wed Jan 01", "Wed Jan 01"))]  # fmt: skip
    for name, text in {
        "odd": (SPEC + "".join(days)).encode(),
        "latin": LATIN.encode("latin-1"),
    }.items():
        spec = top / f"{name}.spec"
        spec.write_bytes(text)
        _rpmbuild(top, spec)
    return sorted([*top.glob("RPMS/**/*.rpm"), *top.glob("SRPMS/*.rpm")])


def _rpmbuild(top: Path, spec: Path) -> None:
    macros = {
        "_topdir": top,
        "_invalid_encoding_terminates_build": 0,
        "_unpackaged_files_terminate_build": 0,
    }
    defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    argv = ["rpmbuild", "-ba", *defines, str(spec)]
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, check=False, capture_output=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
