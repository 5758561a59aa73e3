"""The attacks. Each is a piece of a spec file; `expect` is what its build must end with."""

from tests.hostile.attack import KILLED, Attack, python
from tests.hostile.held import HELD
from tests.hostile.more import MORE
from tests.hostile.odd import ODD

_PROBE = r"""
set +e
for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger \
    /proc/sys/vm/drop_caches /sys/kernel/mm/transparent_hugepage/enabled /proc/1/mem; do
  (echo x >$f) 2>/dev/null && echo "ESCAPED wrote $f"; done
[ "$(cat /proc/self/oom_score_adj)" = 1000 ] || echo "ESCAPED the OOM killer"
echo -1000 2>/dev/null >/proc/self/oom_score_adj && echo "ESCAPED the OOM killer"
ls /sys/fs/cgroup >/dev/null 2>&1 && echo "ESCAPED sees control groups"
for n in "b 8 0" "c 1 1" "c 10 229"; do
  mknod /tmp/node $n 2>/dev/null && head -c 1 /tmp/node >/dev/null 2>&1 && echo "ESCAPED node $n"
  rm -f /tmp/node; done
ls /dev | grep -vxE 'console|core|fd|full|null|ptmx|pts|shm|std(in|out|err)|tty|u?random|zero' |
  sed 's/^/ESCAPED device /'
unshare -Ur mount -t tmpfs x /mnt 2>/dev/null && echo "ESCAPED nested mount"
mount -o remount,rw / 2>/dev/null && echo "ESCAPED remount"
cat /etc/shadow /root/.bashrc 2>/dev/null | sed 's/^/ESCAPED secret /'
cp /bin/true s; chmod 6755 s
(ulimit -c unlimited; sh -c 'kill -SEGV $$') 2>/dev/null; ls core* 2>/dev/null | sed 's/^/ESCAPED /'
echo PROBED
"""

_KERNEL = r"""
import ctypes, errno, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    result = libc.syscall(number, *args)
    print("ESCAPED " + name if result >= 0 else f"{name}: {errno.errorcode[ctypes.get_errno()]}")
if os.uname().machine == "x86_64":
    call("add_key", 248, b"user", b"left", b"x", 1, -4)
    call("keyctl", 250, 0, -3, 1)
    call("bpf", 321, 0, 0, 0)
    call("perf_event_open", 298, 0, 0, 0, 0, 0)
for family in (40, 38, 17):
    try: socket.socket(family, socket.SOCK_STREAM); print("ESCAPED socket family", family)
    except OSError as error: print("family", family, error.strerror)
for address in ABSTRACT:
    try: socket.socket(socket.AF_UNIX).connect(address); print("ESCAPED", repr(address))
    except OSError as error: print("refused", repr(address))
for pid in PIDS:
    try: os.kill(pid, signal.SIGKILL); print("ESCAPED kill", pid)
    except OSError as error: print("kill", pid, error.strerror)
    if libc.ptrace(16, pid, 0, 0) == 0: print("ESCAPED ptrace", pid)
shm = libc.shmget(0x4C454654, 4096, 0o1666)
print("shm", shm >= 0, "KERNEL")
"""

_DEEP = r"""
import os
for _ in range(3000):
    os.mkdir("d"); os.chdir("d")
os.chdir("/builddir")
os.makedirs("locked/inner/more"); open("locked/inner/file", "w").close()
os.chmod("locked/inner", 0); os.chmod("locked", 0)
print("DEEP")
"""

_HELD = r"""
exec 7>%{_rpmdir}/../held; echo x >&7
setsid sh -c 'trap "" TERM INT HUP; exec 8>/builddir/results/.x; rm /builddir/results/.x;
  while :; do echo x >&8 || exit; done' </dev/null >/dev/null 2>&1 &
setsid bash -c 'exec -a hostile-left-behind sleep 7777' </dev/null >/dev/null 2>&1 &
echo HELD
"""

_BOMB = r"""
import struct
lead = b"\xed\xab\xee\xdb\x03\x00\x00\x00" + bytes(88)
open("/builddir/results/bomb-1-1.noarch.rpm", "wb").write(
    lead + struct.pack(">4s4xII", b"\x8e\xad\xe8\x01", 0x7fffffff, 0x7fffffff) + bytes(4096))
"""


#: What the build was started with leads nowhere outside: no descriptor, nobody to talk to.
_INHERITED = r"""
import glob, os
for path in sorted(glob.glob("/proc/[0-9]*/fd/*")):
    try: target = os.readlink(path)
    except OSError: continue
    if target.startswith(("socket:", "anon_inode:", "/memfd:")) and "/proc/1/" not in path:
        print("ESCAPED", path, target)
    if "/proc/1/" in path and target.startswith("socket:"): print("ESCAPED", path, target)
if os.read(0, 1): print("ESCAPED: somebody speaks to us")
others = [pid for pid in os.listdir("/proc") if pid.isdigit()]
print("ESCAPED" if len(others) > 40 else "processes", len(others))
for pid in others:
    for name in ("environ", "cmdline"):
        try: text = open(f"/proc/{pid}/{name}", "rb").read()
        except OSError: continue
        if b"HOME=/root" in text or b"tests.hostile" in text: print("ESCAPED", pid, text)
try: os.setpriority(os.PRIO_PROCESS, 0, -20); print("ESCAPED priority")
except OSError: pass
try: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)); print("ESCAPED real time")
except OSError: pass
print("INHERITED")
"""

#: Other names for files that are not the build's: as results, and elsewhere.
_LINKED = r"""
cd %{_rpmdir}
for f in /in.src.rpm /usr/bin/true /etc/passwd /etc/hosts /proc/self/environ /dev/null; do
  ln $f ./x-1-1.noarch.rpm 2>/dev/null && echo "ESCAPED a link to $f"
  ln $f /builddir/x 2>/dev/null && echo "ESCAPED a link to $f"
  rm -f ./x-1-1.noarch.rpm /builddir/x
done
echo LINKED
"""

#: Everything that ends by being told to, told not to; also what would end by its parent's death.
_DAEMONS = r"""
import os, signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
def breed():
    while True:
        try:
            if os.fork() == 0: os.setsid()
        except OSError: pass
breed()
"""

#: Memory that belongs to no process: files without a byte.
_INODES = r"""
import os
count = 0
for place in ("/dev/shm", "/run"):
    try:
        for number in range(10**7):
            open(f"{place}/{number}", "w").close()
            count += 1
            if number % 10000 == 0: print(place, number, flush=True)
    except OSError as error: print(place, number, error.strerror, flush=True)
print("MADE", count)
import time; time.sleep(1000)
"""

#: The same by what lies in pipes.
_PIPES = r"""
import fcntl, os
total, held = 0, []
try:
    while True:
        read, write = os.pipe()
        held += [read, write]
        try: fcntl.fcntl(write, 1031, 1024**2)
        except OSError: pass
        os.set_blocking(write, False)
        try:
            while True: total += os.write(write, bytes(65536))
        except BlockingIOError: pass
except OSError as error: print(error.strerror)
print("PIPES", total // 1024**2, "MB", "ESCAPED" if total > 2**30 else "")
"""


def planted(name: str, command: str, *, quick: bool = True) -> Attack:
    """A result that must be refused."""
    return Attack(name, f"cd %{{_rpmdir}}\n{command}", "refused result", quick=quick)


ATTACKS = (
    Attack("probe", _PROBE, says=("PROBED",), quick=True),
    Attack("kernel", python(_KERNEL), says=("KERNEL",), quick=True),
    Attack(
        "fork-bomb",
        "f() { f | f & }; f; tail -f /dev/null",
        r"limit of 150 processes \(max_processes\)",
        quick=True,
    ),
    Attack(
        "thread-bomb",
        python(
            "import threading, time\n"
            "while True:\n"
            "    try: threading.Thread(target=time.sleep, args=(1000,)).start()\n"
            "    except RuntimeError: time.sleep(0.01)"
        ),
        r"limit of 150 processes \(max_processes\)",
    ),
    Attack(
        "memory-hog",
        python("import time\nx = [b'x' * 1000003 for _ in range(600)]\ntime.sleep(1000)"),
        r"memory limit of 256 MB \(build_memory\)",
        quick=True,
    ),
    Attack(
        "memory-of-many",
        "for i in 1 2 3 4 5 6 7 8; do python3 -c"
        " 'import time; x = [b\"x\" * 1000003 for _ in range(60)]; time.sleep(1000)' & done; wait",
        r"memory limit of 256 MB \(build_memory\)",
    ),
    Attack(
        "disk-hog",
        "for i in 1 2 3 4 5 6 7 8; do head -c 40000000 /dev/zero >/var/tmp/f$i; done\n"
        "tail -f /dev/null",
        r"disk limit of 100 MB \(max_disk\)",
        quick=True,
    ),
    Attack(
        "disk-hog-that-ends",
        "for i in 1 2 3 4 5 6 7 8; do head -c 40000000 /dev/zero >f$i; done",
        r"disk limit of 100 MB \(max_disk\)",
    ),
    Attack(
        "many-files",
        "mkdir m; cd m; seq 1500 | xargs touch; tail -f /dev/null",
        r"more than 1000 files \(max_files\)",
        quick=True,
    ),
    Attack(
        "huge-file",
        "head -c 100000000 /dev/zero >f",
        r"max_file\b",
        quick=True,
    ),
    Attack("sparse", "truncate -s 32G /builddir/f", r"max_file\b"),
    Attack("flood", "yes", r"larger than 4194304 bytes \(max_log\)"),
    Attack(
        "silence",
        "trap '' TERM INT HUP QUIT; (trap '' TERM; tail -f /dev/null) & tail -f /dev/null",
        r"no output for 2 s \(stall_timeout\)",
        stall=2,
    ),
    Attack(
        "endless",
        "trap '' TERM INT; while :; do echo x; read -t 1 x </dev/ptmx || :; done",
        r"longer than 3 s \(timeout\)",
        timeout=3,
    ),
    Attack(
        "parse-time",
        head="%(test -e /in.src.rpm && echo x >/etc/pwned; test -e /in.src.rpm && sleep 1000)\n",
        expect=r"no output for 2 s \(stall_timeout\)",
        stall=2,
    ),
    Attack("kill-all", python("import os\nos.kill(1, 9)\nos.kill(-1, 9)"), KILLED),
    Attack("kill-shell", "kill -9 $$", KILLED, quick=True),
    Attack("kill-guard", "kill -9 $PPID; tail -f /dev/null", KILLED),
    Attack("deep-tree", python(_DEEP), says=("DEEP",)),
    Attack("held-open", _HELD, "refused result|^$", says=("HELD",)),
    planted("symlink", "ln -s /etc/shadow ./x-1-1.noarch.rpm", quick=False),
    planted("directory", "mkdir ./x-1-1.noarch.rpm", quick=False),
    planted("fifo", "mkfifo ./x-1-1.noarch.rpm"),
    planted("newline", "echo x >\"$(printf 'new\\nline').rpm\"", quick=False),
    planted("option", "echo x >./-rf.rpm", quick=False),
    planted("garbage", "echo x >./x-1-1.noarch.rpm", quick=False),
    planted("sparse-result", "truncate -s 60M ./x-1-1.noarch.rpm", quick=False),
    planted("header-bomb", python(_BOMB)),
    Attack(
        "hard-link",
        clean="cd %{_rpmdir}; ln *.noarch.rpm other-1-1.noarch.rpm",
        expect="refused result",
    ),
    Attack(
        "crafted-name",
        clean="cd %{_rpmdir}; f=$(ls *.noarch.rpm); sed -i 's/hostile-crafted-name/..\\/..\\/etc-"
        "crafted-x/' $f",
        expect="refused result",
    ),
    Attack(
        "crowd",
        python(
            "import os\nos.chdir('/builddir/results')\n"
            "for i in range(100000): open(f'x-{i}-1.noarch.rpm', 'w').close()"
        ),
        "more than 1000 files|more than 10000",
    ),
    Attack(
        "results-moved",
        "cd /builddir; mv results other 2>/dev/null && echo ESCAPED; rm -rf results/* ; echo TRIED",
        says=("TRIED",),
    ),
    Attack("inherited", python(_INHERITED), says=("INHERITED",), quick=True),
    Attack("linked", _LINKED, says=("LINKED",), quick=True),
    Attack("deaf-daemons", python(_DAEMONS), r"limit of (150 processes|256 MB)"),
    Attack(
        "stopped",
        "setsid sh -c 'kill -STOP -1' & kill -STOP $PPID; kill -STOP $$; echo x",
        r"no output for 2 s \(stall_timeout\)",
        stall=2,
    ),
    Attack(
        "talks-on",  # the log is still open there when rpmbuild has ended
        "setsid sh -c 'trap \"\" TERM INT HUP; while :; do echo still here; done' & sleep 1",
        r"^$|larger than 4194304 bytes \(max_log\)",
    ),
    Attack(
        "one-line",
        python(
            "import sys\nwhile True: sys.stdout.buffer.write(b'\\033[2J\\033]0;error: x\\7' * 4096)"
        ),
        r"larger than 4194304 bytes \(max_log\)",
    ),
    Attack(
        "shared-memory",
        "for i in $(seq 16); do head -c 40000000 /dev/zero >/dev/shm/$i; done; tail -f /dev/null",
        r"memory limit of 256 MB \(build_memory\)",
    ),
    Attack("shared-memory-names", python(_INODES), r"memory limit of 256 MB \(build_memory\)"),
    Attack("pipes", python(_PIPES), r"^$|memory limit of 256 MB \(build_memory\)", says=()),
    Attack(
        "set-uid",  # of a package, which nobody unpacks here
        files="%attr(6755, root, root) /usr/bin/become\n%dev(c, 1, 1) /dev/memory",
        head="%global __os_install_post mkdir -p %{buildroot}/usr/bin;"
        " cp /etc/passwd %{buildroot}/usr/bin/become\n",
        quick=True,
    ),
    planted("not-utf-8", "echo x >\"$(printf 'x\\377-1-1.noarch').rpm\""),
    planted("long-name", "echo x >$(printf '%%0245d' 1)-1.rpm", quick=False),
    *MORE,
    *HELD,
    *ODD,
    Attack("terminal", r"printf 'error: \033]0;x\007\033[2Jboo\n' >&2; exit 1", r"Bad exit status"),
)


def spec(attack: Attack) -> str:
    """The spec file."""
    return f"""\
{attack.head}Name: hostile-{attack.name}
Version: 1
Release: 1
Summary: {attack.name}
License: MIT
BuildArch: noarch

%description
{attack.name}
%prep
%build
{attack.build}
%install
%clean
{attack.clean or ":"}
%files
{attack.files}
"""
