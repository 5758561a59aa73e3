#!/bin/bash
# The Debian package on a machine with a real systemd: install, build, upgrade, remove, purge.
#   tests/systemd/deb.sh --on-a-throwaway-machine copr-backend_VERSION-1_ARCH.deb
# As root; apt fetches what the package depends on. The first broken promise ends it.
set -u

[ "${1:-}" = --on-a-throwaway-machine ] && [ -f "${2:-}" ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run it as root"; exit 2; }
deb=$(realpath "$2")
unit=copr-backend.service
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. "$(dirname "$0")/story.sh"

echo "== install"
export DEBIAN_FRONTEND=noninteractive
must apt-get install -y -q --no-install-recommends "$deb"
within 60 systemctl is-active $unit
must systemctl is-enabled $unit
must copr_be.py check
must copr_be.py status
[ "$(stat -c %a /etc/copr/copr-be.conf)" = 640 ] || fail "the configuration is readable by all"
must getent passwd copr-backend
must test -d /var/lib/copr/public_html/results
must zgrep -q "SH COMMANDS" /usr/share/man/man8/copr_be.8.gz
[ -z "$(dpkg -V copr-backend)" ] || fail "dpkg -V: $(dpkg -V copr-backend)"

echo "== a build"
build

echo "== upgrade keeps the configuration"
echo '# mine' >>/etc/copr/copr-be.conf
before=$(pid)
must dpkg -i "$deb"
within 60 systemctl is-active $unit
[ "$(pid)" != "$before" ] || fail "the upgrade did not restart it"
must grep -q '# mine' /etc/copr/copr-be.conf

echo "== remove and purge"
must apt-get remove -y -q copr-backend
! systemctl is-active -q $unit || fail "it still runs"
must grep -q '# mine' /etc/copr/copr-be.conf
[ ! -e /usr/lib/copr-backend ] || fail "left: $(find /usr/lib/copr-backend | head)"
must apt-get install -y -q --no-install-recommends "$deb"
within 60 systemctl is-active $unit
must apt-get purge -y -q copr-backend
[ ! -e /etc/copr/copr-be.conf ] || fail "purge left the configuration"
must test -d /var/lib/copr/public_html/results/admin/p
echo "all kept"
