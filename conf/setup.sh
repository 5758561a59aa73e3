#!/bin/sh
# Prepares a machine: system packages, then (not for `packages`) a virtual environment in .venv.
#   conf/setup.sh run|test|bench|docs|packages
# Does nothing, and needs no network, when everything is there already.
set -eu

purpose=${1:-run}
case $purpose in
    run) extra=quickstart ;;
    test) extra=test ;;
    bench) extra=bench ;;
    docs) extra=docs ;;
    packages) extra= ;;
    *) echo "setup: usage: conf/setup.sh run|test|bench|docs|packages" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# --- system packages ------------------------------------------------------------------------

missing= # package names, in the words of this machine's package manager

# need FILE_OR_PROGRAM DEBIAN_PACKAGE FEDORA_PACKAGE REASON
need() {
    case $1 in
        /*) [ -e "$1" ] && return 0 ;;
        *) command -v "$1" >/dev/null 2>&1 && return 0 ;;
    esac
    if [ "$manager" = apt ]; then package=$2; else package=$3; fi
    case " $missing " in *" $package "*) return 0 ;; esac
    missing="$missing $package"
    say "missing: $package ($4)"
}

good_python() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Prints the first interpreter that can make a virtual environment.
find_python() {
    for candidate in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
        if good_python "$candidate"; then echo "$candidate"; return 0; fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "neither root nor sudo: let an administrator install:$missing"
    fi
}

# Debian starts a new service at once; we start our own private servers instead. A policy
# of the machine's owner is left alone.
policy=/usr/sbin/policy-rc.d
policy_made=
forbid_service_start() {
    [ -e $policy ] && return 0
    policy_made=1
    # shellcheck disable=SC2016  # the policy's own $1
    printf '#!/bin/sh\ncase "$1" in redis-server|postgresql|ssh|sshd) exit 101 ;; esac\nexit 0\n' |
        as_root sh -c "cat >$policy && chmod 755 $policy"
}
allow_service_start() {
    if [ -n "$policy_made" ]; then as_root rm -f $policy; policy_made=; fi
}

install_packages() {
    [ "$(id -u)" = 0 ] || say "installing them as root, through sudo"
    say "installing:$missing"
    # shellcheck disable=SC2086  # a list of words
    if [ "$manager" = apt ]; then
        trap allow_service_start EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
        forbid_service_start
        quiet="-q -o=Dpkg::Use-Pty=0 -o=DPkg::Lock::Timeout=300"
        as_root apt-get $quiet update >/dev/null || fail "apt-get update failed: see above"
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get $quiet install -y --no-install-recommends $missing >/dev/null ||
            fail "apt-get install failed: see above"
        allow_service_start
        trap - EXIT INT TERM
        for service in redis-server postgresql ssh; do
            package=$service
            [ $service != ssh ] || package=openssh-server
            case " $missing " in
                *" $package "*)
                    if command -v systemctl >/dev/null 2>&1; then
                        as_root systemctl disable --quiet $service >/dev/null 2>&1 || true
                    fi ;;
            esac
        done
    else
        as_root dnf install -y -q --setopt=install_weak_deps=False $missing ||
            fail "dnf install failed: see above"
    fi
}

if command -v apt-get >/dev/null 2>&1; then
    manager=apt
elif command -v dnf >/dev/null 2>&1; then
    manager=dnf
else
    manager=none
fi

if [ "$purpose" != docs ]; then
    need rpmbuild rpm rpm-build "builds packages"
    need rpm2cpio rpm2cpio rpm "unpacks source packages"
    need cpio cpio cpio "unpacks source packages"
    need patch patch patch "applies the patches of packages"
    need file file file "rpm's own scripts ask it what is to be stripped"
    need curl curl curl "fetches sources that a spec file names"
    need bwrap bubblewrap bubblewrap "the sandbox of every build"
    need setpriv util-linux util-linux "drops privileges of builds"
    need prlimit util-linux util-linux "limits what builds may use"
    need createrepo_c createrepo-c createrepo_c "makes dnf metadata"
    need redis-server redis-server valkey-compat-redis "the private queue server"
    need gcc gcc gcc "compiles the sample package"
    need /usr/include/stdio.h libc6-dev glibc-devel "compiles the sample package"
    need make make make "builds the sample package"
    need wget wget wget "copr-cli download-build"
fi
if [ "$purpose" = test ]; then
    need dnf dnf dnf "tests install from the published repository"
    need ssh openssh-client openssh-clients "tests of builds on other hosts"
    need sshd openssh-server openssh-server "tests of builds on other hosts"
    need ip iproute2 iproute "make hostchaos: hosts with networks of their own"
    need rpmsign rpm rpm-sign "tests of signing"
    need gpg gpg gnupg2 "tests of signing"
    need gpg-agent gpg-agent gnupg2 "tests of signing"
    need git git git "tests of the working tree"
    need chromium chromium chromium "tests of the pages"
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ||
        need initdb postgresql postgresql-server "tests of the frontend on PostgreSQL"
fi
find_python >/dev/null || need python3-with-venv python3-venv python3 "virtual environments"

if [ -n "$missing" ]; then
    [ "$manager" != none ] || fail "neither apt-get nor dnf here: install by hand:$missing"
    install_packages
fi
python=$(find_python) || fail "Python 3.11 or newer with venv is needed: install it, then try again"
[ -n "$extra" ] || exit 0

# --- virtual environment --------------------------------------------------------------------

# What the environment was made from; the same again means there is nothing to do.
fingerprint="$PWD $(cat setup.py pyproject.toml | cksum)"
stamp=.venv/.setup-$extra
if .venv/bin/python -c '' 2>/dev/null; then
    for made in $stamp .venv/.setup-test; do
        [ "$purpose" = bench ] && [ $made != $stamp ] && continue  # no extra contains it
        [ "$(cat $made 2>/dev/null)" = "$fingerprint" ] && exit 0
    done
fi
if [ -e .venv ] && [ ! -w .venv ]; then
    fail ".venv belongs to another user: remove it, or run as that user"
fi
verb=making
[ -e .venv/bin/python ] && verb=extending
say "$verb .venv ($("$python" --version), extra: $extra)"
.venv/bin/python -c '' 2>/dev/null && .venv/bin/pip --version >/dev/null 2>&1 ||
    "$python" -m venv --clear .venv
.venv/bin/python -m pip install -qq --disable-pip-version-check -e ".[$extra]" ||
    fail "pip install failed: is a package index reachable?"
echo "$fingerprint" >"$stamp"
