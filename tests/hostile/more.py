"""More attacks: on what a slot keeps for the next build, on the verdict, on what counts memory."""

from tests.hostile.attack import KILLED, Attack, python

#: Of everything in /etc: names, modes, contents. The same in each build of one slot.
DIGEST = """
import hashlib, os
found = hashlib.sha256()
for top, folders, files in os.walk("/etc"):
    folders.sort()
    for name in sorted([*folders, *files]) + ["."]:
        path = os.path.join(top, name)
        info = os.lstat(path)
        text = os.readlink(path) if os.path.islink(path) else ""
        found.update(repr([path, info.st_mode, text]).encode())
        found.update(repr(os.listxattr(path, follow_symlinks=False)).encode())
        if os.path.isfile(path) and not text and os.access(path, os.R_OK):
            found.update(open(path, "rb").read())
print("ETC", found.hexdigest())
"""

#: All ways to change a file that is there to be read.
_WRITE = r"""
import ctypes, errno, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def tried(what, action, *args):
    try: result = action(*args)
    except OSError: return
    print("ESCAPED", what, args, result)
def call(what, number, *args):
    if libc.syscall(number, *args) >= 0: print("ESCAPED", what, args)
places = ["/etc", "/proc/self/root/etc", "/proc/1/root/etc", "/proc/1/cwd/../etc"]
names = ["passwd", "group", "hosts", "ld.so.cache", "nsswitch.conf", "os-release", "alternatives"]
os.chdir("/etc")
here = os.open("/etc", os.O_RDONLY)
places += [f"/proc/self/fd/{here}", f"/proc/{os.getpid()}/cwd"]
for place in places:
    tried("mkdir", os.mkdir, f"{place}/new")
    tried("symlink", os.symlink, "x", f"{place}/new")
    tried("mkfifo", os.mkfifo, f"{place}/new")
    tried("create", os.open, f"{place}/new", os.O_CREAT | os.O_WRONLY)
    tried("tmpfile", os.open, place, os.O_TMPFILE | os.O_RDWR)
    for name in ["."] + names:
        path = f"{place}/{name}"
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC):
            tried("open", os.open, path, flags)
        tried("chmod", os.chmod, path, 0o777)
        tried("chown", os.chown, path, os.getuid(), os.getgid())
        tried("utime", os.utime, path, (1, 1))
        tried("setxattr", os.setxattr, path, "user.x", b"x")
        tried("acl", os.setxattr, path, "system.posix_acl_access", b"\2\0\0\0")
        tried("truncate", os.truncate, path, 0)
        tried("rename", os.rename, path, f"{place}/other")
        tried("rename out", os.rename, path, "/builddir/other")
        tried("rename in", os.rename, "/builddir", path)
        tried("unlink", os.unlink, path)
        tried("rmdir", os.rmdir, path)
        tried("link", os.link, path, "/builddir/link")
        tried("link in", os.link, path, f"{place}/link")
        try: fd = os.open(path, os.O_RDONLY)
        except OSError: continue
        proc = f"/proc/self/fd/{fd}"
        tried("link fd", lambda: os.link(proc, "/builddir/link", follow_symlinks=True))
        tried("fd write", os.open, proc, os.O_RDWR)
        tried("fchmod", os.fchmod, fd, 0o777)
        tried("fd chmod", os.chmod, proc, 0o777)
        tried("futimes", os.utime, fd, (1, 1))
        tried("fsetxattr", os.setxattr, fd, "user.x", b"x")
        tried("ftruncate", os.ftruncate, fd, 0)
        tried("fallocate", os.posix_fallocate, fd, 0, 1 << 20)
        for flag in (0x10, 0x20, 0x40, 0x80, 0x8):
            tried("chattr", fcntl.ioctl, fd, 0x40086602, struct.pack("l", flag))
        tried("fsxattr", fcntl.ioctl, fd, 0x401C5820, struct.pack("IIII12x", 0x10, 0, 0, 7))
        verity = struct.pack("IIIIQIIQ88x", 1, 1, 4096, 0, 0, 0, 0, 0)
        tried("verity", fcntl.ioctl, fd, 0x40806685, verity)
        tried("encrypt", fcntl.ioctl, fd, 0x800C6613, bytes(24))
        tried("clone", fcntl.ioctl, fd, 0x40049409, os.open("/usr/bin/env", os.O_RDONLY))
        os.close(fd)
call("mount", 165, b"none", b"/etc", b"tmpfs", 0, 0)
call("bind", 165, b"/builddir", b"/etc", 0, 4096, 0)
call("remount", 165, 0, b"/etc", 0, 32 | 4096, 0)
call("umount", 166, b"/etc", 2)
call("pivot_root", 155, b"/builddir", b"/builddir")
call("chroot", 161, b"/builddir")
call("open_tree", 428, -100, b"/etc", 1)
call("open_tree_attr", 467, -100, b"/etc", 1, 0, 0)
call("move_mount", 429, -100, b"/builddir", -100, b"/etc", 0)
call("fsopen", 430, b"tmpfs", 0)
call("mount_setattr", 442, -100, b"/etc", 0, struct.pack("QQQQ", 0, 1, 0, 0), 32)
call("file_setattr", 469, -100, b"/etc/passwd", bytes(24), 24, 0)
for flag in (0x10000000, 0x10020000, 0x00020000, 0x02000000):
    call("unshare", 272, flag)
handle, number = ctypes.create_string_buffer(struct.pack("Ii128x", 128, 0)), ctypes.c_int()
if libc.syscall(303, -100, b"/etc/passwd", handle, ctypes.byref(number), 0) >= 0:
    call("open_by_handle_at", 304, here, handle, os.O_RDWR)
for name in os.listdir("/proc/1/ns"):
    try: call("setns", 308, os.open(f"/proc/1/ns/{name}", os.O_RDONLY), 0)
    except OSError: pass
print(*(line for line in open("/proc/self/mountinfo") if " /etc " in line))
print("WRITTEN")
"""

#: Who sits in /etc, has it open, mapped, locked and watched, and does not want to end.
_SQUAT = r"""
import ctypes, fcntl, mmap, os, signal
libc = ctypes.CDLL(None)
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    os.chdir("/etc")
    watch, held = libc.inotify_init(), []
    for name in os.listdir("."):
        try: held.append(os.open(name, os.O_RDONLY))
        except OSError: continue
        try:
            fcntl.flock(held[-1], fcntl.LOCK_SH)
            held.append(mmap.mmap(held[-1], 0, mmap.MAP_SHARED, mmap.PROT_READ))
        except (OSError, ValueError): pass
        libc.inotify_add_watch(watch, name.encode(), 0xfff)
    os.close(1); os.close(2)
    while True: signal.pause()
print("SQUAT")
"""

_MEMFD = r"""
import os, time
held, total = [], 0
for number in range(60):
    held.append(os.memfd_create("x"))
    for _ in range(10): total += os.write(held[-1], bytes(10**6))
print("HELD", total, flush=True)
time.sleep(1000)
"""

_SEGMENTS = r"""
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
for number in range(60):
    one = libc.shmget(0, 10**7, 0o1600)
    place = libc.shmat(one, 0, 0)
    ctypes.memset(place, 1, 10**7)
    libc.shmdt(ctypes.c_void_p(place))
print("HELD", flush=True)
time.sleep(1000)
"""

#: The log is a pipe whose other end is the worker's.
_PIPE = r"""
import fcntl, os
for fd in (1, 2):
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK | os.O_ASYNC | os.O_APPEND)
    try: fcntl.fcntl(fd, 1031, 4096)
    except OSError as error: print(error)
    try: reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error: print(error); continue
    for _ in range(1000):
        try: os.read(reader, 65536)
        except OSError: pass
"""

_TRACE = r"""
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, 1, 0, 0) == 0:
    os.waitpid(1, 0x40000000)
    print("TRACED", flush=True)
    time.sleep(1000)
time.sleep(1000)
"""

_MARK = "/run/.script"
MEMORY = r"memory limit of 256 MB \(build_memory\)"

MORE = (
    Attack("etc-write", python(_WRITE), says=("WRITTEN",), quick=True),
    Attack("etc-squat", python(_SQUAT), says=("SQUAT",), quick=True),
    Attack("mark-faked", f"echo begun >{_MARK}; kill -9 $PPID; exit 1", KILLED, quick=True),
    Attack(
        "mark-fifo",
        f"rm {_MARK}; mkfifo {_MARK}; exit 1",
        r"no output for 2 s \(stall_timeout\)",
        stall=2,
    ),
    Attack("mark-directory", f"rm {_MARK}; mkdir {_MARK}; exit 1", "Bad exit status"),
    Attack(
        "mark-endless",
        f"ln -sf /dev/zero {_MARK}; chmod 555 /run; exit 1",
        r"no output for 2 s \(stall_timeout\)|Bad exit status",
        stall=2,
    ),
    Attack(
        "mark-of-one-line",
        f"head -c 50000000 /dev/zero | tr '\\0' x >/builddir/line\n"
        f"ln -sf /builddir/line {_MARK}; kill -9 $PPID; exit 1",
        "Bad exit status|build_memory|KILLED|stall_timeout",
        stall=10,
    ),
    Attack("mark-without-room", "head -c 99999999 /dev/zero >/run/x || exit 1", "Bad exit status"),
    Attack("run-without-room", "head -c 99999999 /dev/zero >/run/x || kill -9 $$", KILLED),
    Attack(
        "bomb-while-parsing",
        head="%(test -e /in.src.rpm && (f() { f | f & }; f; tail -f /dev/null))\n",
        expect=r"limit of 150 processes \(max_processes\)",
    ),
    Attack(
        "memory-while-parsing",
        head='%(test -e /in.src.rpm && python3 -c \'x = [b"x" * 1000003 for _ in range(600)];'
        " import time; time.sleep(1000)')\n",
        expect=MEMORY,
    ),
    Attack(
        "memory-of-threads",
        python(
            "import threading, time\n"
            "def eat():\n"
            "    held = [b'x' * 1000003 for _ in range(20)]\n"
            "    time.sleep(1000)\n"
            "for _ in range(40): threading.Thread(target=eat).start()"
        ),
        MEMORY,
    ),
    Attack("memfd", python(_MEMFD), MEMORY, stall=30),
    Attack("segments", python(_SEGMENTS), MEMORY, stall=30),
    Attack("log-pipe", python(_PIPE), quick=True),
    Attack("traced", python(_TRACE), r"no output for 2 s \(stall_timeout\)", stall=2),
    Attack(
        "guard",
        "for f in /copr-backend.guard /in.src.rpm /bin/sh; do\n"
        '  (echo x >>$f) 2>/dev/null && echo "ESCAPED wrote $f"\n'
        '  mv $f /builddir/x 2>/dev/null && echo "ESCAPED moved $f"; done; echo GUARDED',
        says=("GUARDED",),
    ),
    Attack(
        "odd-attributes",
        "mkdir -p /var/tmp/a/b /tmp/a/b c/b; touch /var/tmp/a/b/f c/b/f\n"
        "for f in /var/tmp/a /tmp/a c; do\n"
        "  chattr -R +AacdijsSuP $f 2>/dev/null || chattr -R +dA $f 2>/dev/null || :\n"
        "  python3 -c \"import os; os.setxattr('$f/b', 'user.x', b'x' * 2000)\" || :\n"
        "  chmod 0 $f/b $f; done; chmod 0 /builddir /tmp /var/tmp; echo ODD",
        "Permission denied",
        says=("ODD",),
    ),
    Attack(
        "unlinked",
        "for i in 3 4 5 6 7 8; do\n"
        '  eval "exec $i>f$i"; rm f$i; head -c 40000000 /dev/zero >&$i; done\n'
        "tail -f /dev/null",
        r"disk limit of 100 MB \(max_disk\)",
        stall=20,
    ),
    Attack(
        "closed-hog",
        "mkdir h; for i in 1 2 3 4 5 6; do head -c 40000000 /dev/zero >h/f$i; done\n"
        "chmod 0 h; tail -f /dev/null",
        r"disk limit of 100 MB \(max_disk\)",
        stall=20,
    ),
    Attack(
        "results-closed",
        clean="touch -d 1901-01-01 %{_rpmdir}/*.rpm; chmod 0 %{_rpmdir}/*.rpm %{_rpmdir}",
        expect=r"^$|refused result",
    ),
    Attack("deaf-log", "exec >&- 2>&-; exit 0"),
)
