"""Attacks by spec files that do harm when they are read, by sources, results and logs."""

from tests.hostile.attack import KILLED, Attack, python

SILENCE = r"no output for 3 s \(stall_timeout\)"
MEMORY = r"memory limit of 256 MB \(build_memory\)"


def inside(lua: str) -> str:
    """Runs when the spec is read in the sandbox, not where its source package is made."""
    return '%{lua: if posix.access("/in.src.rpm") then ' + lua + " end}\n"


_BELIEVED = r"""
import os
os.chdir("/builddir/results")
source = open("/in.src.rpm", "rb").read()
open("other-2-3.src.rpm", "wb").write(source)
open("hostile-results-believed-1-1.src.rpm", "wb").write(source)
"""

_STRANGE = r"""
import os
place = os.open("/builddir", os.O_RDONLY)
names = (b"\xff\xfe", b"a\nb", b"-rf", b"*", b"$(touch x)", b" ", b"\x1b[2J", b"x" * 255, b"...")
for name in names:
    os.mkdir(b"d" + name[:250], dir_fd=place)
    for top in (b"/builddir/", b"/tmp/", b"/var/tmp/"):
        try: open(top + name, "wb").write(b"x")
        except OSError: pass
        try: os.symlink(b"/etc", top + b"l" + name[:250])
        except OSError: pass
for mode in (0o1000, 0o2000, 0o4000, 0o7777, 0):
    path = f"/var/tmp/mode-{mode:o}"
    os.mkdir(path)
    open(f"{path}/f", "w").close()
    os.chmod(f"{path}/f", mode)
    os.chmod(path, mode)
for time in (0, -2**31, 2**33, 2**40):
    path = f"/builddir/time{time}"
    open(path, "w").close()
    try: os.utime(path, (time, time))
    except (OSError, OverflowError): pass
import socket
socket.socket(socket.AF_UNIX).bind("/tmp/socket")
os.mkfifo("/tmp/fifo")
print("STRANGE")
"""

_FLOOD_OF_PROCESSES = "while :; do /bin/true; done & while :; do (:) ; done"

ODD = (
    Attack("lua-loop", head=inside("while true do end"), expect=SILENCE, stall=3),
    Attack(
        "lua-memory",
        head=inside("local t = {}; for i = 1, 1e9 do t[i] = string.rep('x', 1e6) .. i end"),
        expect=rf"{MEMORY}|not enough memory|stall_timeout",
        stall=20,
    ),
    Attack("lua-exit", head=inside("os.exit(0)"), expect="made no RPM|not permitted"),
    Attack(
        "lua-exec",
        head=inside("posix.exec('/bin/sh', '-c', 'exit 0')"),
        expect="made no RPM|not permitted",
    ),
    Attack("lua-kill", head=inside("posix.kill(1, 9); posix.kill(-1, 9)"), expect=f"^$|{KILLED}"),
    Attack(
        "lua-flood",
        head=inside("while true do io.stderr:write('x\\n') end"),
        expect=r"larger than 4194304 bytes \(max_log\)",
    ),
    Attack(
        "macro-recursion",
        head=inside("rpm.define('a %b'); rpm.define('b %a'); print(rpm.expand('%a'))"),
        expect="error expanding macro|ecursion",
    ),
    Attack(
        "macro-laughs",
        head=inside(
            "rpm.define('a0 xxxxxxxxxx'); for i = 1, 40 do local w = '%{a' .. (i - 1) .. '}';"
            " rpm.define('a' .. i .. ' ' .. string.rep(w, 10)) end; print(rpm.expand('%{a40}'))"
        ),
        expect=rf"{MEMORY}|stall_timeout|memory",
        stall=20,
    ),
    Attack(
        "endless-macro",
        head="%(test -e /in.src.rpm && yes)\n",
        expect=rf"{MEMORY}|memory|stall",
        stall=20,
    ),
    Attack(
        "include-endless",
        head=inside("print('%include /dev/zero\\n')"),
        expect=rf"{MEMORY}|stall_timeout|line|nclude",
        stall=20,
    ),
    Attack(
        "include-itself",
        head="%(test -e /in.src.rpm && ls %{_specdir}/*.spec | sed 's/^/%include /')\n",
        expect=r"^$|nclude|line|stall|memory",
        stall=5,
    ),
    Attack(
        "needs",
        head="".join(f"BuildRequires: name-{number} >= {number}\n" for number in range(10000)),
        says=("name-9999",),
        quick=True,
    ),
    Attack(
        "many-sources",
        head="%(mkdir -p %{_sourcedir}; cd %{_sourcedir}; seq -f s%%.0f 3000 | xargs touch)\n"
        '%{lua: for i = 1, 3000 do print("Source" .. i .. ": s" .. i .. "\\n") end}\n',
        expect=r"^$|more than 1000 files",
    ),
    Attack(
        "provides",
        head='%{lua: for i = 1, 100000 do print("Provides: name-" .. i .. " = 1\\n") end}\n',
        expect=r"^$|refused result",
        stall=100,
    ),
    Attack("results-believed", python(_BELIEVED), "refused result|^$"),
    Attack(
        "results-only-foreign",
        "cp /in.src.rpm /builddir/results/glibc-2-1.x86_64.rpm",
        "refused result",
    ),
    Attack("strange-names", python(_STRANGE), says=("STRANGE",)),
    Attack(
        "log-of-zeros",
        "head -c 3000000 /dev/zero; printf '\\nerror: \\000\\377\\033[31m\\n'; exit 1",
        "Bad exit",
    ),
    Attack(
        "long-line",
        "head -c 3000000 /dev/zero | tr '\\0' x; printf ' error: Bad exit status from '; exit 3",
        "Bad exit",
    ),
    Attack(
        "error-of-its-own",
        "printf 'RPM build errors:\\n    all is well\\n'; echo 'error: Bad exit status from '"
        "; printf 'Killed\\nerror: Bad exit status from x (%%build)\\n'; exit 1",
        "Bad exit|all is well|KILLED",
    ),
    Attack("short-processes", _FLOOD_OF_PROCESSES, r"longer than 4 s \(timeout\)|stall", timeout=4),
)
