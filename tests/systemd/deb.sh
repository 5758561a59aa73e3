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

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager -n 30 $unit
    copr_be.py check
    exit 1
}
must() { "$@" >"$work/out" 2>&1 || { cat "$work/out"; fail "$*"; }; }
within() {
    local end=$((SECONDS + $1)); shift
    until "$@" >"$work/out" 2>&1; do
        [ $SECONDS -lt $end ] || { cat "$work/out"; fail "in time: $*"; }
        read -r -t 0.2 <> <(:) || true
    done
}
pid() { systemctl show -p MainPID --value $unit; }

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
cat >"$work/hello.spec" <<SPEC
Name: hello
Version: 1
Release: 1
Summary: test package
License: MIT
BuildArch: noarch
%description
test
%install
install -d %{buildroot}/usr/share/hello
%files
/usr/share/hello
SPEC
must rpmbuild -bs --define "_topdir $work" "$work/hello.spec"
cat >"$work/submit.py" <<'PY'
import configparser, json, sys, time, urllib.request, base64, uuid
conf = configparser.ConfigParser(interpolation=None)
conf.read("/var/lib/copr-backend/copr-cli.conf")
own = conf["copr-cli"]
auth = "Basic " + base64.b64encode(f"{own['login']}:{own['token']}".encode()).decode()
base = own["copr_url"].rstrip("/") + "/api_3/"

def call(path, body=None, kind="application/json"):
    request = urllib.request.Request(base + path, body, {"Authorization": auth, "Content-Type": kind})
    return json.load(urllib.request.urlopen(request, timeout=60))

user = own["username"]
chroots = list(call("mock-chroots/list"))
call(f"project/add/{user}?exist_ok=True", json.dumps({"name": "p", "chroots": chroots}).encode())
mark = uuid.uuid4().hex
parts = [("json", "json", json.dumps({"ownername": user, "projectname": "p"}).encode()),
         ("pkgs", "hello-1-1.src.rpm", open(sys.argv[1], "rb").read())]
body = b"".join(f'--{mark}\r\nContent-Disposition: form-data; name="{n}"; filename="{f}"\r\n\r\n'.encode()
                + data + b"\r\n" for n, f, data in parts) + f"--{mark}--\r\n".encode()
build = call("build/create/upload", body, f"multipart/form-data; boundary={mark}")["id"]
state = ""
while state not in ("succeeded", "failed", "canceled", "skipped"):
    time.sleep(0.5)
    state = call(f"build/{build}")["state"]
print(state)
sys.exit(state != "succeeded")
PY
must timeout 120 python3 "$work/submit.py" "$work/SRPMS/hello-1-1.src.rpm"
must sh -c 'ls /var/lib/copr/public_html/results/admin/p/*/repodata/repomd.xml'

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
