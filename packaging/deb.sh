#!/bin/sh
# Makes the Debian package of this tree, for the release that it runs on: packaging/deb.sh [DIR]
#   PYTHON  the distribution's interpreter (/usr/bin/python3), with python3-venv
#   WHEELS  a directory of wheels instead of a package index; `packaging/deb.sh wheels DIR` fills one
# Debian lacks some of the Python packages, and has others too old: the package brings its own
# ones, in /usr/lib/copr-backend. Everything else comes from Debian. Runs as any user.
set -eu

cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-/usr/bin/python3}
fail() { echo "deb: $*" >&2; exit 1; }

if [ "${1:-}" = wheels ]; then
    [ -n "${2:-}" ] || fail "usage: packaging/deb.sh wheels DIR"
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    copy=$tools/copy
    mkdir "$copy"
    cp -R backend setup.py pyproject.toml README.md "$copy/"
    "$PYTHON" -m venv "$tools/venv"
    exec "$tools/venv/bin/python" -m pip wheel -q --disable-pip-version-check -w "$2" \
        "$copy[web]" "setuptools>=64" wheel
fi

out=$(mkdir -p "${1:-build/deb}" && cd "${1:-build/deb}" && pwd)
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' backend/__init__.py)
release=$("$PYTHON" -c 'import sys; print("%d.%d %d.%d" % (*sys.version_info[:2], 3, sys.version_info[1] + 1))')
arch=$(dpkg --print-architecture)
root=$(mktemp -d)/root
trap 'rm -rf "${root%/root}"' EXIT
mkdir -p "$root/DEBIAN"
umask 022

if [ -n "${WHEELS:-}" ]; then
    PIP_NO_INDEX=1
    PIP_FIND_LINKS=$(cd "$WHEELS" && pwd)
    export PIP_NO_INDEX PIP_FIND_LINKS
fi
DESTDIR=$root PREFIX=/usr/lib/copr-backend PYTHON=$PYTHON BINDIR=/usr/bin EXTRA=web \
    UNITDIR=/usr/lib/systemd/system DOCDIR=/usr/share/doc/copr-backend MANDIR=/usr/share/man \
    TMPFILESDIR=/usr/lib/tmpfiles.d SYSUSERSDIR=/usr/lib/sysusers.d ./conf/install.sh install >/dev/null
# pip itself is of no use in there.
rm -rf "$root"/usr/lib/copr-backend/lib/python*/site-packages/pip* \
    "$root"/usr/lib/copr-backend/bin/pip*
gzip -n9 "$root"/usr/share/man/man8/copr_be.8
rm -f "$root/usr/share/man/man8/copr_be.py.8"
ln -s copr_be.8.gz "$root/usr/share/man/man8/copr_be.py.8.gz"
install -m 644 packaging/debian/copyright "$root/usr/share/doc/copr-backend/copyright"
gzip -n9 <CHANGELOG.md >"$root/usr/share/doc/copr-backend/changelog.gz"

size=$(du -ks --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" \
    -e "s/@PYTHON@/${release% *}/" -e "s/@NEXT@/${release#* }/" packaging/debian/control >"$root/DEBIAN/control"
printf '/etc/copr/copr-be.conf\n/etc/logrotate.d/copr-backend\n' >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "packaging/debian/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zxz -z3 --build "$root" "$out/copr-backend_${version}-1_$arch.deb" >/dev/null
echo "$out/copr-backend_${version}-1_$arch.deb"
