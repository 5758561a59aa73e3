#!/bin/sh
# As root, on a Debian: installs a released mock, which Debian does not package, for `make test-mock`.
# Does nothing where there is a mock. `install.sh remove` takes it away again.
#   MOCK_GIT=URL   where mock's repository is (a directory will do)
#   TEMPLATED_GIT=URL   take the Python module templated-dictionary from there, not from PyPI
set -eu
version=6.7
release=mock-$version-1
python=/usr/bin/python3 # the one that knows dnf and rpm
site=/usr/local/lib/copr-test-mock
files="/usr/local/bin/mock /etc/pam.d/mock /etc/security/console.apps/mock $site /usr/libexec/mock"
keys=/usr/share/distribution-gpg-keys # mock copies it into a bootstrap root
user=copr-mock

if [ "${1:-}" = remove ]; then
    [ -d $site ] || { echo "mock: not installed by this script: nothing is removed" >&2; exit 1; }
    # shellcheck disable=SC2086
    rm -rf $files
    if [ -d $keys ]; then rmdir --ignore-fail-on-non-empty $keys; fi
    if getent passwd $user >/dev/null; then userdel -r $user 2>/dev/null; fi
    exit 0
fi
if command -v mock >/dev/null; then exit 0; fi
if ! command -v apt-get >/dev/null; then echo "mock is not installed: dnf install mock" >&2; exit 1; fi
if [ "$(id -u)" != 0 ]; then echo "mock is not installed, and only root can: run as root" >&2; exit 1; fi

echo "mock: installing $release, with what it needs"
apt-get install -y -qq --no-install-recommends debootstrap dnf dnf-plugins-core git pigz \
    python3-backoff python3-distro python3-jinja2 python3-pip python3-pyroute2 python3-requests \
    python3-rpm rpm systemd-container usermode >/dev/null
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
url=${MOCK_GIT:-https://github.com/rpm-software-management/mock.git}
git clone -q --depth 1 --branch $release "$url" "$source/mock" 2>"$source/said" || {
    echo "mock: $release cannot be cloned from $url: $(tail -1 "$source/said"); name another place with MOCK_GIT=" >&2
    exit 1
}
rm -rf "$site"
mkdir -p "$site" $keys /usr/libexec/mock /etc/mock /etc/security/console.apps /var/lib/mock /var/cache/mock
if [ "${TEMPLATED_GIT:-}" ]; then
    git clone -q "$TEMPLATED_GIT" "$source/templated"
    cp -r "$source/templated/templated_dictionary" "$site/"
else
    $python -m pip install -q --root-user-action ignore --no-deps --target "$site" templated-dictionary
fi
cp -r "$source/mock/mock/py/mockbuild" "$site/"
sed -i -e "s|^VERSION *=.*|VERSION = \"$version\"|" -e 's|^SYSCONFDIR *=.*|SYSCONFDIR = "/etc"|' \
    -e "s|^PYTHONDIR *=.*|PYTHONDIR = \"$site\"|" -e "s|^PKGPYTHONDIR *=.*|PKGPYTHONDIR = \"$site/mockbuild\"|" \
    "$site/mockbuild/constants.py"
$python -m compileall -q "$site"
# consolehelper clears the environment: the path of the modules goes into the program.
sed -e "1s|.*|#!$python -tt|" -e "s|^from __future__ .*|&\\nimport sys; sys.path.insert(0, '$site')|" \
    "$source/mock/mock/py/mock.py" >/usr/libexec/mock/mock
chmod 755 /usr/libexec/mock/mock
[ -e /etc/mock/logging.ini ] || cp "$source/mock/mock/etc/mock/logging.ini" /etc/mock/
cp "$source/mock/mock/etc/consolehelper/mock" /etc/security/console.apps/mock
cat >/etc/pam.d/mock <<'PAM'
#%PAM-1.0
auth     sufficient  pam_rootok.so
auth     required    pam_succeed_if.so user ingroup mock use_uid quiet
account  sufficient  pam_succeed_if.so user ingroup mock use_uid quiet
account  required    pam_unix.so
session  required    pam_unix.so
PAM
ln -sf /usr/bin/consolehelper /usr/local/bin/mock
getent group mock >/dev/null || groupadd -r mock
getent passwd $user >/dev/null || useradd --system --create-home --groups mock $user
chgrp mock /var/lib/mock /var/cache/mock
chmod 2775 /var/lib/mock /var/cache/mock
mock --version >/dev/null || { echo "mock: installed, but it does not start" >&2; exit 1; }
