"""A filter of system calls, for what no namespace separates from the machine.

Kernel keyrings belong to a user id, not to a sandbox; vsock sockets reach the hypervisor whatever
the network namespace; the rest is of no use to a build and has opened many a kernel. Elsewhere
than on the machines listed here there is no filter.
"""

import errno
import platform
import struct

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_LOAD, _EQUAL, _ABOVE, _ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT, _SECOND_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 24, 32

#: Families of sockets that a build may open: local, IPv4, IPv6, netlink.
FAMILIES = (1, 2, 10, 16)
_X32 = 0x40000000
_NEW_USER = 0x10000000

#: AUDIT_ARCH → clone, unshare: their first argument says whether a user namespace is wanted. That
#: of clone3, whose number is the same everywhere, lies in memory: programs fall back to clone.
_NAMESPACES = {0xC000003E: (56, 272), 0x40000003: (120, 310), 0xC00000B7: (220, 97)}
_NAMESPACES[0xC00000F3] = _NAMESPACES[0xC00000B7]
_CLONE3 = 435

#: AUDIT_ARCH → (socket, socketcall or None, what is refused). Refused: add_key, request_key,
#: keyctl, bpf, perf_event_open, userfaultfd, kexec_load, kexec_file_load, open_by_handle_at,
#: io_uring_setup, init_module, finit_module, delete_module, memfd_secret,
#: syslog (the kernel's log).
_X86_64 = (41, None, (248, 249, 250, 321, 298, 323, 246, 320, 304, 425, 175, 313, 176, 447, 103))
_I386 = (359, 102, (286, 287, 288, 357, 336, 374, 283, 342, 425, 128, 350, 129, 447, 103))
_NEW = (198, None, (217, 218, 219, 280, 241, 282, 104, 294, 265, 425, 105, 273, 106, 447, 116))
#: AUDIT_ARCH → setrlimit, prlimit64.
_SETTING = {0xC000003E: (160, 302), 0x40000003: (75, 340), 0xC00000B7: (164, 261)}
_SETTING[0xC00000F3] = _SETTING[0xC00000B7]
_CORE = 4
_Table = tuple[int, int | None, tuple[int, ...]]
_TABLES: dict[str, dict[int, _Table]] = {
    "x86_64": {0xC000003E: _X86_64, 0x40000003: _I386},
    "aarch64": {0xC00000B7: _NEW},
    "riscv64": {0xC00000F3: _NEW},
}


def program(machine: str = "", *, namespaces: bool = True) -> bytes:
    """The filter as the kernel and bubblewrap's --seccomp take it; empty if there is none.

    Without `namespaces` it refuses user namespaces, where nothing else does.
    """
    tables = _TABLES.get(machine or platform.machine())
    if not tables:
        return b""
    blocks = [
        _block(arch, _same_core(arch) + ([] if namespaces else _no_namespaces(arch)), *table)
        for arch, table in tables.items()
    ]
    return b"".join([*blocks, _one(_RETURN, value=_ERRNO | errno.ENOSYS)])


def _no_namespaces(arch: int) -> list[bytes]:
    clone, unshare = _NAMESPACES[arch]
    return [
        *(_one(_EQUAL, 0, 1, _CLONE3), _one(_RETURN, value=_ERRNO | errno.ENOSYS)),
        *(_one(_EQUAL, 1, 0, clone), _one(_EQUAL, 0, 3, unshare)),
        *(_one(_LOAD, value=_FIRST_ARGUMENT), _one(_ANY, 0, 1, _NEW_USER)),
        _one(_RETURN, value=_ERRNO | errno.EPERM),
        _one(_LOAD, value=_NUMBER),
    ]


def _same_core(arch: int) -> list[bytes]:
    """Setting the limit on cores does nothing: see `prelude.limit`. It is said to have succeeded,
    since some programs do not go on otherwise."""
    setrlimit, prlimit = _SETTING[arch]
    done, again = _one(_RETURN, value=_ERRNO), _one(_LOAD, value=_NUMBER)
    return [
        *(_one(_EQUAL, 0, 4, setrlimit), _one(_LOAD, value=_FIRST_ARGUMENT)),
        *(_one(_EQUAL, 0, 1, _CORE), done, again),
        *(_one(_EQUAL, 0, 8, prlimit), _one(_LOAD, value=_SECOND_ARGUMENT)),
        *(_one(_EQUAL, 0, 5, _CORE), _one(_LOAD, value=_THIRD_ARGUMENT)),
        *(_one(_EQUAL, 0, 2, 0), _one(_LOAD, value=_THIRD_ARGUMENT + 4)),
        *(_one(_EQUAL, 1, 0, 0), done, again),
    ]


def _block(
    arch: int, more: list[bytes], socket: int, socketcall: int | None, refused: tuple[int, ...]
) -> bytes:
    """What is decided for one architecture; it jumps over itself for another."""
    rules = [_one(_LOAD, value=_NUMBER)]
    if arch == 0xC000003E:
        rules += [_one(_ABOVE, 0, 1, _X32), _one(_RETURN, value=_ERRNO | errno.ENOSYS)]
    rules += more
    for number in refused:
        rules += [_one(_EQUAL, 0, 1, number), _one(_RETURN, value=_ERRNO | errno.ENOSYS)]
    if socketcall is not None:  # its argument lies in memory, which a filter cannot read
        rules += [_one(_EQUAL, 0, 3, socketcall), _one(_LOAD, value=_FIRST_ARGUMENT)]
        rules += [_one(_EQUAL, 0, 1, 1), _one(_RETURN, value=_ERRNO | errno.EAFNOSUPPORT)]
        rules += [_one(_LOAD, value=_NUMBER)]
    rules += [_one(_EQUAL, 0, len(FAMILIES) + 2, socket), _one(_LOAD, value=_FIRST_ARGUMENT)]
    for index, family in enumerate(FAMILIES):
        rules.append(_one(_EQUAL, len(FAMILIES) - index, 0, family))
    rules.append(_one(_RETURN, value=_ERRNO | errno.EAFNOSUPPORT))
    rules.append(_one(_RETURN, value=_ALLOW))
    body = b"".join(rules)
    return b"".join([_one(_LOAD, value=_ARCH), _one(_EQUAL, 0, len(body) // 8, arch), body])


def _one(code: int, yes: int = 0, no: int = 0, value: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
