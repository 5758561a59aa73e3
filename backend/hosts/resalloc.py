"""A client of resalloc (https://github.com/praiskup/resalloc): tickets for machines.

Its protocol is XML-RPC: `takeTicket(tags, sandbox)` returns a number, `collectTicket(number)`
an object (`ready`: None when there is no such ticket; `output`, `closed`, `failed`), and
`closeTicket(number)` gives the machine back. `waitTicket` is not used: it never returns for a
ticket that failed.
"""

import http.client
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from backend.exceptions import InfrastructureError

#: Longest wait for one answer, in seconds.
TIMEOUT = 30.0
#: Most bytes of an answer.
ANSWER = 1024**2
#: Characters of a ticket's output that are looked at.
OUTPUT = 4096


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What is known of a ticket: `output` (once it is ready) begins with the host's name."""

    ready: bool
    output: str = ""


class TicketLost(InfrastructureError):
    """The ticket failed, was closed by somebody else, or is unknown to the server."""


class _Bounded(xmlrpc.client.Transport):
    """Neither an endless answer nor one that grows when it is unpacked fills the memory."""

    accept_gzip_encoding = False

    def parse_response(self, response: http.client.HTTPResponse) -> Any:
        with response:  # whoever sends without end is not to wait for us
            data = response.read(ANSWER + 1)
        if len(data) > ANSWER:
            raise http.client.HTTPException(f"its answer is larger than {ANSWER} bytes")
        parser, target = self.getparser()
        parser.feed(data)
        parser.close()
        return target.close()


class _Patient(_Bounded):
    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT
        return connection


class _PatientTls(_Bounded, xmlrpc.client.SafeTransport):
    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT
        return connection


class Resalloc:
    """Talks to one server; every fault is an InfrastructureError."""

    def __init__(self, url: str) -> None:
        tls = urlsplit(url).scheme == "https"
        self._url = url
        self._server: Any = xmlrpc.client.ServerProxy(
            url, transport=_PatientTls() if tls else _Patient(), allow_none=True
        )

    def _call(self, method: str, *args: object) -> Any:
        try:
            return getattr(self._server, method)(*args)
        except xmlrpc.client.Fault as error:
            text = " ".join(str(error.faultString).split())[:300]
            raise InfrastructureError(f"resalloc {self._url}: {method}: {text}") from error
        except (xmlrpc.client.Error, http.client.HTTPException, ExpatError) as error:
            raise InfrastructureError(
                f"resalloc {self._url}: {method}: no resalloc answers there: {error!r:.300}"
            ) from error
        except OSError as error:
            raise InfrastructureError(f"resalloc {self._url}: {method}: {error}") from error

    def take(self, tags: Sequence[str], sandbox: str) -> int:
        """A new ticket for a machine with all these tags."""
        number = self._call("takeTicket", list(tags), sandbox)
        if not isinstance(number, int) or isinstance(number, bool):
            raise InfrastructureError(f"resalloc {self._url}: takeTicket: {number!r:.100}")
        return number

    def collect(self, ticket: int) -> Collected:
        """How far it is; raises TicketLost when nothing will come of it."""
        answer = self._call("collectTicket", ticket)
        if not isinstance(answer, dict):
            raise InfrastructureError(f"resalloc {self._url}: collectTicket: {answer!r:.100}")
        if answer.get("failed"):
            raise TicketLost(f"resalloc ticket {ticket} failed")
        if answer.get("closed") or answer.get("ready") is None:
            what = "was closed by somebody else" if answer.get("closed") else "is not known there"
            raise TicketLost(f"resalloc ticket {ticket} {what}")
        output: Any = answer.get("output")
        if isinstance(output, xmlrpc.client.Binary):
            output = output.data
        if isinstance(output, bytes):
            output = output.decode("utf-8", "replace")
        return Collected(ready=bool(answer["ready"]), output=str(output or "")[:OUTPUT])

    def close(self, ticket: int) -> None:
        """Give the machine back; a ticket that is not there any more is closed."""
        try:
            self._call("closeTicket", ticket)
        except InfrastructureError as error:
            if "no such ticket" not in str(error):
                raise


def host_of(output: str, ticket: int) -> str:
    """The host's name: the first word of the output's first line."""
    lines = output.strip().splitlines()
    found = lines[0].split() if lines else []
    if not found:
        raise TicketLost(f"resalloc ticket {ticket} is ready, but its output names no host")
    return found[0]
