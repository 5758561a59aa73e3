#!/bin/sh
# Makes the source package copr-backend-VERSION-1.src.rpm from this tree: packaging/srpm.sh [DIR]
#   PYTHON  an interpreter that has retask, which is bundled (python3)
# Needs rpmbuild and no network. The same tree gives the same tarballs.
set -eu

cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:-build/srpm}" && cd "${1:-build/srpm}" && pwd)
PYTHON=${PYTHON:-python3}
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' backend/__init__.py)
[ "$(sed -n 's/^Version: *//p' copr-backend.spec)" = "$version" ] || {
    echo "srpm: copr-backend.spec and backend/__init__.py name different versions" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pack() { # pack TARBALL DIRECTORY NAME: the same bytes for the same files
    tar -C "$2" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
        --exclude=__pycache__ -cf - "$3" | gzip -n9 >"$1"
}

tree=$work/copr-backend-$version
mkdir "$tree"
# Not what Python writes beside them, perhaps just now.
find backend conf docs systemd setup.py pyproject.toml README.md LICENSE CHANGELOG.md \
    copr-be.conf.example copr-backend.spec -name __pycache__ -prune -o -type f \
    -exec cp --parents -t "$tree" {} +
pack "$work/copr-backend-$version.tar.gz" "$work" "copr-backend-$version"
retask=$("$PYTHON" -c 'import os, retask; print(os.path.dirname(os.path.dirname(retask.__file__)))') || {
    echo "srpm: $PYTHON has no retask: pip install retask, or name another one with PYTHON=..." >&2
    exit 1
}
pack "$work/retask.tar.gz" "$retask" retask
rpmbuild -bs --nodeps --quiet --define "_topdir $work/top" --define "_sourcedir $work" \
    --define "_srcrpmdir $out" --define "dist %{nil}" copr-backend.spec
echo "$out/copr-backend-$version-1.src.rpm"
