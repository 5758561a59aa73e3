# What the stories of packages share; sourced by deb.sh and rpm.sh, which set `work` and `unit`.

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

# The service builds a source package and publishes it.
build() {
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
}
