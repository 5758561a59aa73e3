"""Attacks by what the kernel holds for a build, by its system calls, and by how it calls itself."""

from tests.hostile.attack import Attack, python

MEMORY = r"memory limit of 256 MB \(build_memory\)"
DISK = r"disk limit of 100 MB \(max_disk\)"

_PREPARE = """
import ctypes, fcntl, os, resource, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
def last(): print("HELD", flush=True); time.sleep(1000)
"""


def holding(text: str) -> str:
    """A program that takes memory, and keeps it."""
    return python(_PREPARE + text)


_MESSAGES = """
for _ in range(400):
    queue = libc.msgget(0, 0o1600)
    while libc.msgsnd(queue, struct.pack("l", 1), 0, 0o4000) == 0: pass
last()
"""

_SEMAPHORES = """
for _ in range(300): libc.semget(0, 32000, 0o1600)
last()
"""

_SOCKETS = """
held = []
for _ in range(3000):
    try: pair = socket.socketpair()
    except OSError: break
    held.append(pair)
    for one in pair:
        one.setblocking(False)
        try:
            while True: one.send(bytes(4000))
        except BlockingIOError: pass
last()
"""

_FIRST_THREAD = """
def hold():
    held = [b"x" * 1000003 for _ in range(600)]
    last()
threading.Thread(target=hold).start()
libc.pthread_exit(None)
"""

#: All threads have their own tables of descriptors: what the first one has open is nothing.
_OWN_TABLES = """
def hold():
    libc.unshare(0x400)
    held = [os.memfd_create("x") for _ in range(60)]
    for one in held:
        for _ in range(10): os.write(one, bytes(10**6))
    last()
threading.Thread(target=hold).start()
"""

_DESCRIPTORS = """
for _ in range(14):
    if os.fork() == 0: break
while libc.eventfd(0, 0) >= 0: pass
last()
"""

_ALL_FILES = """
for _ in range(130):
    if os.fork() == 0: break
while libc.eventfd(0, 0) >= 0: pass
time.sleep(1000)
"""

_PAGE_TABLES = """
import mmap
for _ in range(20):
    if os.fork() == 0: break
place = mmap.mmap(-1, 14 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
place.madvise(15)
for offset in range(0, 14 << 30, 2 << 20): place[offset]
last()
"""

#: What there is only so much of, for a user or for the machine: the next build needs some.
_QUOTAS = """
def many(what, action, *args):
    number = 0
    try:
        while number < 20000 and (action(*args) or 0) >= 0: number += 1
    except OSError: pass
    print(what, number, flush=True)
    return number
timer, watch = ctypes.c_void_p(), libc.inotify_init()
names = [os.path.join(top, one) for top, _, files in os.walk("/usr") for one in files][:50000]
many("watches", lambda: libc.inotify_add_watch(watch, names.pop().encode(), 2) if names else -1)
many("messages", lambda: libc.mq_open(os.urandom(8).hex().join("/x").encode(), 0o102, 0o600, None))
many("timers", lambda: libc.timer_create(1, None, ctypes.byref(timer)))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
many("signals", lambda: libc.sigqueue(os.getpid(), signal.SIGRTMIN, None))
lock = os.open("locks", os.O_RDWR | os.O_CREAT)
places = iter(range(3000))
many("locks", lambda: fcntl.lockf(lock, fcntl.LOCK_EX, 1, 2 * next(places, 2998)) if places else 0)
many("locked", libc.mlockall, 3)
many("inotify", libc.inotify_init)
many("fanotify", libc.fanotify_init, 0x200, 0)
many("epoll", libc.epoll_create1, 0)
print("QUOTAS")
"""

#: System calls that change or tell of the machine. x86_64.
_CALLS = """
import errno
one, zeros = os.pidfd_open(1), bytes(4096)
calls = {
    "settimeofday": (164, struct.pack("qq", 1, 0), 0), "adjtimex": (159, struct.pack("I204x", 1)),
    "clock_settime": (227, 0, struct.pack("qq", 1, 0)), "syslog": (103, 3, zeros, 4096),
    "syslog size": (103, 10, 0, 0), "sethostname": (170, b"x", 1), "setdomainname": (171, b"x", 1),
    "swapon": (167, b"/builddir/x", 0), "reboot": (169, 0xfee1dead, 672274793, 0, 0),
    "acct": (163, b"/builddir/x"), "iopl": (172, 3), "ioperm": (173, 0, 8, 1),
    "quotactl": (179, 0x800002 << 8, 0, 0, 0), "vhangup": (153,), "chroot": (161, b"/builddir"),
    "setuid": (105, 0), "setgid": (106, 0), "setgroups": (116, 1, zeros),
    "scheduler": (144, 0, 1, struct.pack("i", 9)), "ioprio": (251, 1, 0, 1 << 13),
    "memfd_secret": (447, 0), "io_uring": (425, 8, zeros), "userfaultfd": (323, 1),
    "kexec": (246, 0, 0, 0, 0), "securebits": (157, 28, 1), "fsopen": (430, b"proc", 0),
    "init_module": (175, zeros, 0, b""), "add_key": (248, b"user", b"left", b"x", 1, -3),
}
for name, (number, *args) in calls.items() if os.uname().machine == "x86_64" else ():
    result = libc.syscall(number, *args)
    print(*(("ESCAPED", name) if result >= 0 else (name, errno.errorcode[ctypes.get_errno()])))
for name in ("kmsg", "kcore", "timer_list", "slabinfo", "vmallocinfo", "sched_debug", "1/mem"):
    try: text = os.read(os.open(f"/proc/{name}", os.O_RDONLY), 1000)
    except OSError: continue
    if text.strip(): print("ESCAPED readable", name, text[:60])
for path in ("self/loginuid", "self/uid_map", "self/setgroups", "self/timens_offsets",
        "sys/user/max_user_namespaces", "sys/fs/file-max", "sys/kernel/pid_max",
        "sys/vm/swappiness", "sys/net/core/wmem_max", "irq/0/smp_affinity",
        "bus/pci/devices", "acpi/wakeup"):
    for text in (b"0", b"-1", b"0 0 1"):
        try: os.write(os.open(f"/proc/{path}", os.O_WRONLY), text)
        except OSError: continue
        print("ESCAPED written", path, text)
for port in (22, 80, 443, 631, 5000, 5432, 6379):
    for host in ("127.0.0.1", "::1"):
        try: socket.create_connection((host, port), 1); print("ESCAPED to port", port)
        except OSError: pass
core = resource.getrlimit(resource.RLIMIT_CORE)
if max(core) > 1: print("ESCAPED core", core)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))
if resource.getrlimit(resource.RLIMIT_CORE) != core: print("ESCAPED limit on cores")
print("CALLED")
"""

#: Names of processes that are no text, or that look like what the kernel says of one.
_NAMES = """
for name in (b"\\xff\\xfe) R 1 1 (", b"\\rRssAnon:\\t0", b"x\\nThreads:\\t0", b") Z 0 ("):
    if os.fork() == 0:
        os.setsid()
        libc.prctl(15, name)
        held = b"x" * (100 * 10**6)
        os.close(1); os.close(2)
        while True: signal.pause()
libc.prctl(15, b"\\x85\\xff\\x1c")
last()
"""

#: Open files that nobody finds: behind thousands of others, or in a process that is not to be
#: looked into, at which an ordinary user's daemon may not look either.
_MANY = """
for _ in range(min(most, 11000) - 200): libc.eventfd(0, 0)
if os.fork() == 0: time.sleep(1000)
time.sleep(1)
"""
_UNDUMPABLE = "libc.prctl(4, 0)\n"
_FILES = """
for number in range(8):
    file = os.open("f", os.O_CREAT | os.O_WRONLY)
    os.unlink("f")
    for _ in range(40): os.write(file, bytes(10**6))
last()
"""
_NAMELESS = """
held = [os.memfd_create("x") for _ in range(100)]
for one in held: os.write(one, bytes(6 * 10**6))
last()
"""

_IN_FLIGHT = """
pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(10)]
for one, other in pairs:
    for _ in range(6):
        file = os.memfd_create("x")
        for _ in range(10): os.write(file, bytes(10**6))
        socket.send_fds(one, [b"x"], [file])
        os.close(file)
last()
"""

HELD = (
    Attack("messages", holding(_MESSAGES), MEMORY, stall=60),
    Attack("semaphores", holding(_SEMAPHORES), MEMORY, stall=15),
    Attack("unix-sockets", holding(_SOCKETS), MEMORY, stall=15),
    Attack("first-thread-ends", holding(_FIRST_THREAD), MEMORY, stall=15),
    Attack("own-tables", holding(_OWN_TABLES), MEMORY, stall=15),
    Attack(
        "descriptors",
        holding(_DESCRIPTORS),
        rf"{MEMORY}|stall_timeout",  # in their group they may be fewer than that
        alone=MEMORY,
        stall=12,
    ),
    Attack(  # of the whole machine, where it has a limit on them
        "all-files", holding(_ALL_FILES), rf"{MEMORY}|{DISK}|file-max|stall_timeout", stall=12
    ),
    Attack("page-tables", holding(_PAGE_TABLES), MEMORY, stall=15),
    Attack("hidden-files", holding(_MANY + _FILES), DISK, stall=15),
    # An ordinary user's daemon goes by free space, which others change meanwhile.
    Attack("undumpable-files", holding(_UNDUMPABLE + _FILES), f"{DISK}|stall_timeout", stall=15),
    Attack("hidden-memory", holding(_MANY + _NAMELESS), MEMORY, stall=15),
    Attack("undumpable-memory", holding(_UNDUMPABLE + _NAMELESS), MEMORY, stall=15),
    Attack("in-flight", holding(_IN_FLIGHT), MEMORY, stall=15),
    Attack("quotas", holding(_QUOTAS), says=("QUOTAS",)),
    Attack("calls", holding(_CALLS), says=("CALLED",), quick=True),
    Attack("process-names", holding(_NAMES), MEMORY, stall=15),
)
