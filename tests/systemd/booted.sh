#!/bin/bash
# The service on a machine with a real systemd: start, reload, restart, crash, hang, stop.
#   make install && tests/systemd/booted.sh --on-a-throwaway-machine
# As root. It overwrites the configuration in /etc/copr and builds packages; PORT picks the
# frontend's port, PATIENCE=n makes the limits of waiting n times as long (for a slow machine).
# Every wait is for a fact, with a limit; the first broken promise ends it.
set -u

[ "${1:-}" = --on-a-throwaway-machine ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run it as root"; exit 2; }
port=${PORT:-5072}
unit=copr-backend.service
conf=/etc/copr/copr-be.conf
PATH=/usr/local/bin:$PATH # where `make install` puts the command; not in everybody's
drop=/run/systemd/system/$unit.d
forking=/run/systemd/system/copr-forking.service
cli() { /opt/copr-backend/bin/copr-cli --config "$work/copr-cli.conf" "$@"; }
work=$(mktemp -d)
first=$(date '+%F %T')
trap 'rm -rf "$work" "$drop" "$forking"; systemctl daemon-reload' EXIT

# --- promises -------------------------------------------------------------------------------

begin() { step=$1; echo "== $step"; since=$(date '+%F %T'); }
fail() {
    echo "FAILED: $step: $*"
    systemctl status --no-pager -n 0 $unit
    journalctl --no-pager -u $unit --since "$since" | tail -40
    exit 1
}
# must COMMAND...: succeeds now
must() { "$@" >"$work/out" 2>&1 || { cat "$work/out"; fail "$*"; }; }
# must_fail CODE COMMAND...
must_fail() {
    local want=$1 got; shift
    "$@" >"$work/out" 2>&1; got=$?
    [ $got = "$want" ] || { cat "$work/out"; fail "$*: exit code $got, not $want"; }
}
# within SECONDS COMMAND...: succeeds before long
within() {
    local end=$((SECONDS + $1 * ${PATIENCE:-1})); shift
    until "$@" >"$work/out" 2>&1; do
        [ $SECONDS -lt $end ] || { cat "$work/out"; fail "in time: $*"; }
        read -r -t 0.1 <> <(:) || true
    done
}
prop() { systemctl show -p "$1" --value $unit; }
active() { [ "$(prop ActiveState)/$(prop SubState)" = active/running ]; }
other_master() { active && [ "$(prop MainPID)" != "$1" ]; }
state() { cli status "$1" 2>/dev/null | tail -1; }
is() { [ "$(state "$1")" = "$2" ]; }
workers() { [ "$(copr_be.py status --json | grep -c '"alive": true')" = "$1" ]; }
said() { journalctl -q --no-pager -u $unit --since "$since" | grep -q -- "$1"; }
gone() { ! grep -alz '^copr-be: ' /proc/[0-9]*/cmdline 2>/dev/null | grep -q .; }
mine=
# nothing_left: no process, mount, control group or work directory of a build; else it lists them
nothing_left() {
    local mark pid
    mark=$(python3 -c 'import zlib; print(f"{zlib.crc32(b'"'/var/lib/copr-backend'"'):08x}")')
    ! {
        grep -alzE '^copr-be: |[c]opr-backend/redis' /proc/[0-9]*/cmdline
        grep -lxE 'bwrap|rpmbuild' /proc/[0-9]*/comm
        grep /var/lib/copr-backend/work /proc/mounts
        ls -A /var/lib/copr-backend/work
        for pid in $mine; do find /sys/fs/cgroup -type d -name "copr-be-$mark-$pid-*"; done
    } 2>/dev/null | grep .
}
# working BUILD...: workers have these, past their source packages
working() {
    copr_be.py status --json | /opt/copr-backend/bin/python -c '
import json, sys
tasks = [worker["task"] or "" for worker in json.load(sys.stdin)["workers"]]
sys.exit(not all(any(t.startswith(f"{build}-") for t in tasks) for build in sys.argv[1:]))' "$@"
}
# load: two builds that run, two that wait; their numbers in $builds
load() {
    builds=$(submit slow slow quick quick)
    # shellcheck disable=SC2086  # a list of words
    set -- $builds
    within 60 working "$1" "$2"
    is "$4" pending || fail "nothing waits: $(state "$4")"
    # Groups are named after workers; other containers may show theirs in the same tree.
    mine=$(copr_be.py status --json | sed -n 's/^ *"pid": \([0-9]*\).*/\1/p')
}
# finished: each of $builds succeeds, and is published once
finished() {
    for build in $builds; do
        within 120 is "$build" succeeded
        set -- /var/lib/copr/public_html/results/*/test/*-*-*/"$(printf %08d "$build")"-*
        [ $# = 1 ] && [ -d "$1" ] || fail "build $build is published as: $*"
    done
    within 10 sh -c 'copr_be.py status --json | grep -q "\"outbox\": 0"'
}

# A package that builds for $2 seconds.
package() {
    cat >"$work/$1.spec" <<SPEC
Name: $1
Version: 1
Release: 1
Summary: test package
License: MIT
%description
test
%prep
%build
echo 'int main(void) { return 0; }' >x.c && cc x.c -o x
sleep $2
%install
install -D x %{buildroot}/usr/bin/$1
%files
/usr/bin/$1
SPEC
    must rpmbuild -bs --nodeps --define "_topdir $work" "$work/$1.spec"
}
# submit NAME...: prints the numbers of the builds
submit() {
    set -- "${@/%/-1-1.src.rpm}"
    cli build --nowait test "${@/#/$work/SRPMS/}" | sed -n 's/^Created builds: //p'
}
configure() {
    cat >$conf <<CONF
[backend]
sleeptime = 2
group0_max_workers = ${1:-2}
${2:-}
[web]
port = $port
CONF
}

# --- the story ------------------------------------------------------------------------------

begin "start and enable"
systemctl stop $unit
mkdir -p $drop
printf '[Service]\nWatchdogSec=6\n' >$drop/test.conf # a bite shall not take half a minute
must systemctl daemon-reload
configure
must copr_be.py resume # an earlier run may have ended drained
must copr_be.py check
must_fail 3 copr_be.py status
must systemctl enable $unit
[ "$(systemctl is-enabled $unit)" = enabled ] || fail "not enabled"
must systemctl start $unit
must active
must copr_be.py status
must_fail 3 /opt/copr-backend/bin/copr_be.py -c $conf
package quick 0
package slow 15
# (an earlier start may have had another port)
sed "s|^copr_url.*|copr_url = http://127.0.0.1:$port|" /var/lib/copr-backend/copr-cli.conf \
    >"$work/copr-cli.conf" || fail "no configuration for copr-cli"
cli create test --chroot "$(cli list-chroots | sed -n 's/^\([a-z][^ :]*-x86_64\).*/\1/p;q')" >/dev/null 2>&1

begin "a build inside the unit's hardening"
build=$(submit quick)
[ -n "$build" ] || fail "copr-cli cannot submit"
within 60 is "$build" succeeded
ls /var/lib/copr/public_html/results/*/test/*/*/quick-1-1.*.rpm >/dev/null || fail "no RPM"

begin "reload: grow, shrink, refuse"
configure 4
must systemctl reload $unit
within 10 workers 4
configure 2
must systemctl reload $unit
within 10 workers 2
master=$(prop MainPID)
configure 2 "nonsense = 1"
must_fail 1 systemctl reload $unit
within 10 said "unknown key"
configure
must systemctl reload $unit
must active
[ "$(prop MainPID)" = "$master" ] || fail "another master after reload"

begin "restart while it builds"
load
must systemctl restart $unit
must active
finished

begin "stop while it builds, later a start"
load
must systemctl stop $unit
[ "$(prop Result)" = success ] || fail "result $(prop Result)"
must nothing_left
must systemctl start $unit
finished

begin "enabled: it comes up with the machine"
must systemctl stop $unit
must systemctl start multi-user.target
within 20 active

begin "a bad configuration at the start"
must systemctl stop $unit
configure 2 "nonsense = 1"
must_fail 1 systemctl start $unit
[ "$(prop ActiveState)" = failed ] || fail "state $(prop ActiveState)"
[ "$(prop ExecMainStatus)" = 2 ] || fail "exit code $(prop ExecMainStatus)"
[ "$(prop NRestarts)" = 0 ] || fail "tried again, for nothing"
within 10 said "unknown key"
must gone
configure
must systemctl start $unit

begin "crash of the master while it builds"
load
master=$(prop MainPID)
kill -9 "$master"
within 20 other_master "$master"
finished

begin "watchdog bite"
load
master=$(prop MainPID)
kill -STOP "$master"
within 40 other_master "$master"
must said "atchdog"
finished

begin "log files after a rotation"
mv /var/log/copr-backend/backend.log /var/log/copr-backend/backend.log.1
must copr_be.py reopen-logs
build=$(submit quick)
within 60 is "$build" succeeded
within 10 grep -q "$build" /var/log/copr-backend/backend.log
if command -v logrotate >/dev/null; then
    must logrotate -f -s "$work/logrotate" /etc/logrotate.d/copr-backend
    build=$(submit quick)
    within 60 is "$build" succeeded
    within 10 grep -q "$build" /var/log/copr-backend/backend.log
    grep -q "$build" /var/log/copr-backend/backend.log.1 && fail "the old file is still written to"
else
    echo "   without logrotate, which is not installed here"
fi

begin "journal"
journal() { journalctl --no-pager -o cat -u $unit --since "$first" "$@"; }
journal >"$work/journal"
grep -qE '^[0-9]{4}-[0-9]{2}-[0-9]{2}T' "$work/journal" && fail "a second timestamp in each line"
grep -qE '^<[0-7]>' "$work/journal" && fail "a priority that was not understood"
journal -p err | grep -q "unknown key" || fail "errors are no errors"
journal -p err | grep -q "ready, serving" && fail "news are errors"

begin "drain over a restart, resume"
build=$(submit slow)
within 30 is "$build" running
must copr_be.py drain --wait --reason "new disks"
is "$build" succeeded || within 10 is "$build" succeeded
waiting=$(submit quick)
must systemctl restart $unit
copr_be.py status | grep -q "new disks" || fail "no reason in the status"
within 10 sh -c "copr_be.py why $waiting | grep -q -i drain"
is "$waiting" pending || fail "started although drained: $(state "$waiting")"
must copr_be.py resume
within 60 is "$waiting" succeeded

begin "stop"
must systemctl stop $unit
[ "$(prop Result)" = success ] || fail "result $(prop Result)"
must nothing_left
[ ! -e /run/copr-backend ] || fail "/run/copr-backend is left"
must_fail 3 copr_be.py status
must systemctl disable $unit

begin "--daemonize: a second is refused, after kill -9 it starts"
must copr_be.py --daemonize
master=$(cat /run/copr-backend/copr-be.pid)
must_fail 3 copr_be.py --daemonize
grep -q "pid $master " "$work/out" || fail "does not name pid $master"
load
kill -9 "$master"
within 10 gone
must copr_be.py --daemonize
must copr_be.py status
finished
must copr_be.py stop
must nothing_left
[ ! -e /run/copr-backend/copr-be.pid ] || fail "the pid file is left"

begin "Type=forking: PIDFile= and --daemonize"
cat >$forking <<UNIT
[Service]
Type=forking
PIDFile=/run/copr-backend/copr-be.pid
ExecStart=/usr/local/bin/copr_be.py -c $conf --daemonize
ExecReload=/usr/local/bin/copr_be.py -c $conf reload
KillMode=mixed
Restart=on-failure
RestartSec=1
RuntimeDirectory=copr-backend
UNIT
unit=copr-forking.service
must systemctl daemon-reload
must systemctl start $unit
must active
[ "$(prop MainPID)" = "$(cat /run/copr-backend/copr-be.pid)" ] || fail "PIDFile= is not understood"
must systemctl reload $unit
load
master=$(prop MainPID)
kill -9 "$master"
within 30 other_master "$master"
finished
load
must systemctl stop $unit
[ "$(prop Result)" = success ] || fail "result $(prop Result)"
must nothing_left
must systemctl start $unit
finished
must systemctl stop $unit

echo "all promises kept"
