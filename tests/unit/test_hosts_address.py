"""Addresses of hosts are parsed strictly: nothing in them can become an option of ssh."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.exceptions import ConfigError
from backend.hosts import Host

GOOD = {
    "local": Host(),
    "ssh://copr@h1": Host(user="copr", name="h1"),
    "ssh://copr@h1.example.org:2222": Host(user="copr", name="h1.example.org", port=2222),
    "ssh://root@192.0.2.7": Host(user="root", name="192.0.2.7"),
    "ssh://root@[2001:db8::7]:22022": Host(user="root", name="2001:db8::7", port=22022),
}


@pytest.mark.parametrize("text", GOOD)
def test_addresses(text: str) -> None:
    host = Host.parse(text)
    assert host == GOOD[text]
    assert str(host) == text
    assert host.is_local == (text == "local")


@pytest.mark.parametrize(
    "text",
    [
        *("", "Local", "h1", "copr@h1", "ssh://h1", "ssh://copr@", "ssh://@h1", "ssh:/copr@h1"),
        *("ssh://copr:secret@h1", "ssh://copr@h1/path", "ssh://copr@h1:", "ssh://copr@h1:ssh"),
        *("ssh://copr@h1:0", "ssh://copr@h1:65536", "ssh://-l@h1", "ssh://copr@-oProxyCommand=x"),
        *("ssh://copr@h1 -v", "ssh://copr@h1\n", "ssh://copr@h1;id", "ssh://copr@[h1]"),
        *("ssh://copr@[::1", "ssh://copr@[1:2]", "SSH://copr@h1", "https://copr@h1", "ssh://c$@h"),
    ],
)
def test_what_is_no_address_is_said_with_the_remedy(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Host.parse(text)
    assert "\n" not in str(caught.value)
    assert ": " in str(caught.value)


@given(st.text())
def test_whatever_is_taken_means_the_same_again(text: str) -> None:
    try:
        host = Host.parse("ssh://" + text)
    except ConfigError:
        return
    assert Host.parse(str(host)) == host
    assert not host.name.startswith("-")
    assert not host.user.startswith("-")
