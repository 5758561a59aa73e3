#!/bin/bash
# The RPM on a machine with a real systemd: install, build, upgrade, remove.
#   tests/systemd/rpm.sh --on-a-throwaway-machine copr-backend-VERSION-1.noarch.rpm
# As root. With dnf and Fedora's repositories they bring what it depends on. On another system
# (it has no package of Fedora's names) rpm installs it alone: bring programs and Python packages
# yourself, e.g. conf/setup.sh packages, and pip install of setup.py's into python3. The first
# broken promise ends it.
set -u

[ "${1:-}" = --on-a-throwaway-machine ] && [ -f "${2:-}" ] || { sed -n '2,7s/^# //p' "$0"; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run it as root"; exit 2; }
rpm=$(realpath "$2")
unit=copr-backend.service
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$(dirname "$0")/story.sh"
fedora=; [ ! -e /etc/fedora-release ] || fedora=1

echo "== install"
if [ $fedora ]; then must dnf install -y -q "$rpm"; else must rpm -i --nodeps "$rpm"; fi
must getent passwd copr-backend
must test -d /var/lib/copr/public_html/results
[ "$(stat -c %a /etc/copr/copr-be.conf)" = 640 ] || fail "the configuration is readable by all"
must rpm -V --nodeps copr-backend
must systemctl daemon-reload
must copr_be.py check
must systemctl enable --now $unit
within 60 systemctl is-active $unit
must copr_be.py status

echo "== a build"
build

echo "== upgrade keeps the configuration, and restarts"
echo '# mine' >>/etc/copr/copr-be.conf
before=$(pid)
must rpm -U --force --nodeps "$rpm"
within 60 systemctl is-active $unit
[ "$(pid)" != "$before" ] || fail "the upgrade did not restart it"
must grep -q '# mine' /etc/copr/copr-be.conf

echo "== remove"
must rpm -e --nodeps copr-backend
! systemctl is-active -q $unit || fail "it still runs"
[ ! -e /usr/lib/copr-backend ] || fail "left: $(find /usr/lib/copr-backend | head)"
must grep -q '# mine' /etc/copr/copr-be.conf.rpmsave
must test -d /var/lib/copr/public_html/results/admin/p
echo "all kept"
