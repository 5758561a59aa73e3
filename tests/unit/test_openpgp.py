"""Who signed, from the packets alone; checked against real output of GnuPG 2.2."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend import openpgp

#: An Ed25519 key (made by `gpg --quick-generate-key`) and a detached signature of it.
KEY = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawWp3BYJKwYBBAHaRw8BAQdANDciKrL2nxrqz6guohtviEZpH9+qhgbAuTVH
AdFBkJ60Hmpkb2VfcCA8amRvZSNwQGNvcHIuMTI3LjAuMC4xPoiQBBMWCAA4FiEE
WAG7vM1q+jIh1HvW8wv4Yco6uwMFAmsFqdwCGwMFCwkIBwIGFQoJCAsCBBYCAwEC
HgECF4AACgkQ8wv4Yco6uwMhDwEAr1BHWLr3cXizMGDi6kq3b501fNJZdAc6FOc9
ruvPI4AA/jd6780FshdMPaC4B+HAmcriPnrskBwmHCKh47MMPq8P
=NOIQ
-----END PGP PUBLIC KEY BLOCK-----
"""
SIGNATURE = """\
-----BEGIN PGP SIGNATURE-----

iHUEABYIAB0WIQRYAbu8zWr6MiHUe9bzC/hhyjq7AwUCawWp3AAKCRDzC/hhyjq7
A7TBAQDJd+oxbHSbWbFS1tO3L1ExorlE4zD0OVN4m/i12A2GNgD+JIWg0lV9pdkT
iPRxBEJIMTQS94MxskaSf3XtMCXP4QE=
=0ith
-----END PGP SIGNATURE-----
"""
ID = "F30BF861CA3ABB03"


@given(st.binary(max_size=2000))
@example(b"")
def test_armor_and_back(data: bytes) -> None:
    assert openpgp.dearmor(openpgp.armor(data)) == data


def test_gpgs_armor_is_ours() -> None:
    packets = openpgp.dearmor(SIGNATURE.encode())
    assert openpgp.armor(packets).decode().split() == SIGNATURE.split()


def test_key_and_signature_name_the_same_key() -> None:
    assert openpgp.key_ids(openpgp.dearmor(KEY.encode())) == [ID]
    assert openpgp.signers(openpgp.dearmor(SIGNATURE.encode())) == {ID}


def test_several_blocks_are_read_one_after_the_other() -> None:
    crlf = KEY.replace("\n", "\r\n")
    assert openpgp.key_ids(openpgp.dearmor((KEY + "text\n" + crlf).encode())) == [ID, ID]


def test_packets_keep_their_bytes() -> None:
    packets = openpgp.dearmor(SIGNATURE.encode())
    assert b"".join(openpgp.split(packets + packets)) == packets + packets


@given(st.binary(max_size=300))
def test_nothing_that_is_no_openpgp_is_misread(data: bytes) -> None:
    openpgp.signers(data)
    openpgp.key_ids(data)
    openpgp.dearmor(data)
    assert b"".join(openpgp.split(data)) in data


@given(st.integers(0, 400), st.integers(0, 255))
def test_damaged_signatures_do_no_harm(at: int, value: int) -> None:
    packets = bytearray(openpgp.dearmor(SIGNATURE.encode()))
    packets[at % len(packets)] = value
    assert all(len(found) <= 1000 for found in openpgp.signers(bytes(packets)))


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN PGP SIGNATURE-----\n\n!!\n"])
def test_what_is_no_armor_holds_nothing(text: str) -> None:
    assert openpgp.dearmor(text.encode()) == b""
