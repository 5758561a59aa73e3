"""What a build is given: macros that its rpm lacks; and the filter of system calls."""

import errno
import struct

from backend.builders import recipe, seccomp, stream


def test_only_macros_that_are_missing_are_given() -> None:
    text = "# no macro\n%_unitdir /u\n%cmake a\\\n  b\n%systemd_post() x\n"
    assert recipe.names(text) == ["_unitdir", "cmake", "systemd_post"]
    assert recipe.lacking(text, {"cmake"}) == "%_unitdir /u\n%systemd_post() x\n"


def test_the_file_of_macros_defines_what_fedora_gives() -> None:
    names = set(recipe.names(recipe.macros()))
    wanted = "cmake meson _unitdir systemd_post py3_build set_build_flags ldconfig_scriptlets"
    assert set(wanted.split()) <= names


def run(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would decide."""
    code = list(struct.iter_unpack("=HBBI", program))
    data, place, value = {0: number, 4: arch, 16: 0}, 0, 0
    for index, argument in enumerate(arguments):
        data[16 + 8 * index], data[20 + 8 * index] = argument & 0xFFFFFFFF, argument >> 32
    while True:
        kind, yes, no, word = code[place]
        place += 1
        if kind == 0x20:
            value = data[word]
        elif kind == 0x06:
            return int(word)
        else:
            holds = {0x15: value == word, 0x35: value >= word, 0x45: value & word}[kind]
            place += yes if holds else no


ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def test_the_filter_refuses_keyrings_and_odd_sockets() -> None:
    program = seccomp.program("x86_64")
    x86_64, i386 = 0xC000003E, 0x40000003
    assert run(program, x86_64, 0) == ALLOW  # read
    assert run(program, x86_64, 250) & REFUSE  # keyctl
    assert run(program, x86_64, 103) & REFUSE  # syslog
    assert run(program, x86_64, 447) & REFUSE  # memfd_secret: nobody could count what is in it
    assert run(program, x86_64, 0x40000000) & REFUSE  # x32
    for family in (1, 2, 10, 16):
        assert run(program, x86_64, 41, family) == ALLOW
        assert run(program, i386, 359, family) == ALLOW
    assert run(program, x86_64, 41, 40) & REFUSE  # vsock
    assert run(program, i386, 359, 40) & REFUSE
    assert run(program, i386, 102, 1) & REFUSE  # socketcall: its family cannot be seen
    assert run(program, i386, 102, 3) == ALLOW  # connect
    assert run(program, i386, 41) == ALLOW
    assert run(program, 0xC00000B7, 0) & REFUSE  # no such machine
    assert seccomp.program("none") == b""


def test_nobody_changes_the_limit_on_cores() -> None:
    for machine, arch, setrlimit, prlimit in (
        ("x86_64", 0xC000003E, 160, 302),
        ("x86_64", 0x40000003, 75, 340),
        ("aarch64", 0xC00000B7, 164, 261),
        ("riscv64", 0xC00000F3, 164, 261),
    ):
        for namespaces in (True, False):
            program = seccomp.program(machine, namespaces=namespaces)
            assert run(program, arch, setrlimit, 4, 1) == REFUSE  # by the error 0: success
            assert run(program, arch, setrlimit, 7, 1) == ALLOW
            for new in (1, 1 << 40):
                assert run(program, arch, prlimit, 0, 4, new, 0) == REFUSE
                assert run(program, arch, prlimit, 0, 7, new, 0) == ALLOW
            assert run(program, arch, prlimit, 0, 4, 0, 1) == ALLOW  # it only asks


def test_the_filter_refuses_user_namespaces_where_nothing_else_does() -> None:
    thread, user = 0x3D0F00, 0x10000000
    for machine, arch, clone, unshare in (
        ("x86_64", 0xC000003E, 56, 272),
        ("x86_64", 0x40000003, 120, 310),
        ("aarch64", 0xC00000B7, 220, 97),
        ("riscv64", 0xC00000F3, 220, 97),
    ):
        for number in (clone, unshare):
            assert run(seccomp.program(machine), arch, number, user) == ALLOW
            strict = seccomp.program(machine, namespaces=False)
            assert run(strict, arch, number, thread) == ALLOW
            assert run(strict, arch, number, user | thread) == REFUSE | errno.EPERM
        assert run(strict, arch, 435) == REFUSE | errno.ENOSYS  # clone3
        assert run(strict, arch, 3) == ALLOW
        assert run(strict, arch, 425) & REFUSE  # what is refused in any case: io_uring


def test_words_of_a_build_have_no_terminal_sequences() -> None:
    assert stream.plain("a\x1b[2J\x1b]0;title\x07b\x00c") == "abc"
    assert stream.decisive_line(b"error: \x1b[31mred\x1b[0m\n") == "red"
