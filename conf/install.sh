#!/bin/sh
# Installs the backend for systemd; `make install` and `make uninstall` call it.
#   PREFIX   where the program lives, with Python packages of its own (/opt/copr-backend)
#   DESTDIR  for package builders: everything goes below it, and this machine stays as it is
set -eu

what=${1:-install}
PREFIX=${PREFIX:-/opt/copr-backend}
DESTDIR=${DESTDIR:-}
CONFIG=${CONFIG:-/etc/copr/copr-be.conf}
UNITDIR=${UNITDIR:-/usr/local/lib/systemd/system}
BINDIR=${BINDIR:-/usr/local/bin}
DOCDIR=${DOCDIR:-/usr/local/share/doc/copr-backend}
MANDIR=${MANDIR:-/usr/local/share/man}
TMPFILESDIR=${TMPFILESDIR:-/etc/tmpfiles.d}
SYSUSERSDIR=${SYSUSERSDIR:-/etc/sysusers.d}
EXTRA=${EXTRA:-quickstart} # Python packages beside the needed ones, see setup.py
unit=copr-backend.service
cd "$(dirname "$0")/.."

say() { echo "install: $*"; }
fail() { echo "install: $*" >&2; exit 1; }

case $PREFIX in /?*) ;; *) fail "PREFIX=$PREFIX: give an absolute path" ;; esac
[ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail "this writes to $PREFIX and /etc: run it as root (sudo make $what)"
booted() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

put() { # put MODE FILE TARGET
    install -D -m "$1" "$2" "$DESTDIR$3"
    say "$DESTDIR$3"
}

files() {
    echo "$UNITDIR/$unit"
    echo /etc/logrotate.d/copr-backend
    echo "$TMPFILESDIR/copr-backend.conf"
    echo "$SYSUSERSDIR/copr-backend.conf"
    echo "$MANDIR/man8/copr_be.8"
    echo "$MANDIR/man8/copr_be.py.8"
    echo "$BINDIR/copr_be.py"
}

program() {
    python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is older than 3.11: name another one with PYTHON=..."
    "$python" -m venv --clear "$DESTDIR$PREFIX" ||
        fail "cannot make $DESTDIR$PREFIX: install python3-venv (Debian), or set PREFIX"
    # From a copy: the source directory stays as it is.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -R backend setup.py pyproject.toml README.md "$copy/"
    "$DESTDIR$PREFIX/bin/python" -m pip install -q --disable-pip-version-check "$copy[$EXTRA]" ||
        fail "pip install failed: is a package index reachable?"
    if [ -n "$DESTDIR" ]; then # scripts name their interpreter by its final place
        grep -rlI --null "$DESTDIR$PREFIX" "$DESTDIR$PREFIX/bin" "$DESTDIR$PREFIX/pyvenv.cfg" |
            xargs -0 -r sed -i "s|$DESTDIR$PREFIX|$PREFIX|g"
    fi
    mkdir -p "$DESTDIR$BINDIR"
    ln -sfn "$PREFIX/bin/copr_be.py" "$DESTDIR$BINDIR/copr_be.py"
    say "$DESTDIR$PREFIX, and the command $DESTDIR$BINDIR/copr_be.py"
}

install_all() {
    [ -n "$DESTDIR" ] || ./conf/setup.sh packages
    program
    made=$(mktemp)
    sed -e "s|^\(Exec[A-Za-z]*\)=/usr/bin/copr_be.py -c [^ ]*|\1=$PREFIX/bin/copr_be.py -c $CONFIG|" \
        -e "s|^Documentation=.*|Documentation=file://$DOCDIR/operate.md|" "systemd/$unit" >"$made"
    put 644 "$made" "$UNITDIR/$unit"
    sed "s|/usr/bin/copr_be.py -c [^ ]*|$PREFIX/bin/copr_be.py -c $CONFIG|" \
        conf/copr-backend.logrotate >"$made"
    put 644 "$made" /etc/logrotate.d/copr-backend
    rm -f "$made"
    put 644 conf/copr-backend.tmpfiles "$TMPFILESDIR/copr-backend.conf"
    put 644 conf/copr-backend.sysusers "$SYSUSERSDIR/copr-backend.conf"
    page=$(mktemp)
    (cd / && "$DESTDIR$PREFIX/bin/python" -m backend.cli man-page) >"$page"
    put 644 "$page" "$MANDIR/man8/copr_be.8"
    rm -f "$page"
    ln -sfn copr_be.8 "$DESTDIR$MANDIR/man8/copr_be.py.8"
    for page in README.md copr-be.conf.example docs/*.md conf/copr-backend.nginx; do
        install -D -m 644 "$page" "$DESTDIR$DOCDIR/$(basename "$page")"
    done
    if [ -e "$DESTDIR$CONFIG" ]; then
        say "$DESTDIR$CONFIG: yours, left as it is"
    else
        put 640 copr-be.conf.example "$CONFIG" # it may come to hold passwords
    fi
    if booted; then
        systemd-sysusers "$SYSUSERSDIR/copr-backend.conf"
        systemd-tmpfiles --create "$TMPFILESDIR/copr-backend.conf"
        systemctl daemon-reload
        if systemctl -q is-active $unit; then
            say "now: systemctl restart copr-backend"
        else
            command=copr_be.py # not everybody's PATH has /usr/local/bin
            command -v $command >/dev/null || command=$BINDIR/copr_be.py
            say "now: $command check && systemctl enable --now copr-backend"
        fi
    fi
}

uninstall() {
    if booted; then systemctl -q disable --now $unit 2>/dev/null || true; fi
    files | while read -r file; do rm -f "$DESTDIR$file"; done
    rm -rf "$DESTDIR${DOCDIR:?}" "$DESTDIR${PREFIX:?}"
    if booted; then systemctl daemon-reload; fi
    say "removed; configuration, logs, state and results are left: $CONFIG, /var/lib/copr-backend,"
    say "/var/lib/copr, /var/log/copr-backend, and the user copr-backend"
}

case $what in
    install) install_all ;;
    uninstall) uninstall ;;
    *) fail "usage: conf/install.sh install|uninstall" ;;
esac
