"""POST to an address that some user chose: to public machines only, and never for long.

The name is looked up once, and what it stands for is checked and then connected to: an answer
that changes in between leads nowhere. Redirects are not followed; of the answer only the status
is read.
"""

import asyncio
import contextlib
import ipaddress
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

#: Seconds for everything: name, connection, answer.
PATIENCE = 10.0
_NETWORK = ipaddress.IPv4Network | ipaddress.IPv6Network
_ADDRESS = ipaddress.IPv4Address | ipaddress.IPv6Address
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")
_PORTS = {"http": 80, "https": 443}
#: IPv6 networks whose addresses stand for an IPv4 address: NAT64.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


class Refused(Exception):
    """Such an address is not allowed here: trying again cannot help."""


class Trouble(Exception):
    """The receiver did not answer as wanted: trying again may help."""


@dataclass(frozen=True)
class Gate:
    """Which machines may be reached: public ones, and those in the networks that are allowed."""

    allowed: tuple[_NETWORK, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> "Gate":
        """From texts such as `10.1.0.0/16`."""
        return cls(tuple(ipaddress.ip_network(network) for network in networks))

    def lets(self, text: str) -> bool:
        """May this address be connected to?"""
        try:
            address = _plain(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            return False
        if any(address in network for network in self.allowed):
            return True
        return address.is_global and not address.is_multicast and not address.is_reserved


def _plain(address: _ADDRESS) -> _ADDRESS:
    """The IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def split(url: str) -> SplitResult:
    """The parts of an address that may be sent to; raises ValueError with what is wrong."""
    if not re.fullmatch(r"[!-~]{1,1000}", url):
        raise ValueError("an address has at most 1000 characters, and no spaces")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.port == 0:
        raise ValueError("write http://HOST/PATH or https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it is shown to all admins of the project: put no password in it")
    return parts


async def _look_up(host: str, port: int, gate: Gate) -> str:
    """An address of the host that may be reached."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=1)
    except (OSError, UnicodeError) as error:
        raise Trouble(f"{host} is not known: {getattr(error, 'strerror', error)}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if gate.lets(address):
            return address
    named = "" if host in addresses else f"{', '.join(addresses[:3])}, "
    raise Refused(
        f"{host} is {named}an address of this machine or of a private"
        " network: the administrator may allow it (web.hook_networks)"
    )


async def post(url: str, headers: Mapping[str, str], body: bytes, gate: Gate) -> int:
    """Status of the answer; raises Refused or Trouble."""
    try:
        parts = split(url)
    except ValueError as error:
        raise Refused(str(error)) from error
    try:
        async with asyncio.timeout(PATIENCE):
            return await _exchange(parts, headers, body, gate)
    except TimeoutError as error:
        raise Trouble(f"no answer within {PATIENCE:.0f} s") from error
    except ssl.SSLError as error:
        raise Trouble(f"TLS: {error.reason or error}"[:200]) from error
    except (OSError, EOFError, ValueError) as error:
        raise Trouble((getattr(error, "strerror", "") or str(error))[:200]) from error


async def _exchange(parts: SplitResult, headers: Mapping[str, str], body: bytes, gate: Gate) -> int:
    host = str(parts.hostname)
    port = parts.port or _PORTS[parts.scheme]
    address = await _look_up(host, port, gate)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(
        address, port, ssl=tls, server_hostname=host if tls else None
    )
    try:
        writer.write(_request(parts, headers, body))
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.transport.abort()  # nothing more is wanted from it
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    found = _STATUS.match(line)
    if found is None:
        raise Trouble("it closed the connection" if not line else "its answer is no HTTP")
    return int(found[1])


def _request(parts: SplitResult, headers: Mapping[str, str], body: bytes) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = {
        **headers,
        "Host": parts.netloc,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [f"POST {target} HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
