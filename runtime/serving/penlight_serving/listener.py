# SPDX-License-Identifier: Apache-2.0
"""The socket a server listens on."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from penlight_serving.errors import AddressError, PortInUseError, ServingError

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Address:
    """Where a server listens: `port` is the real one, also when 0 was asked for."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The base URL for a client on this machine."""
        host = _WILDCARDS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def bind(host: str, port: int) -> socket.socket:
    """Returns a bound socket that does not listen yet: the port is ours while models load, and nobody connects in vain.

    Raises:
        PortInUseError: Somebody else has the port.
        AddressError: The address or the port cannot be had.
    """
    if not 0 <= port <= 65535:
        raise AddressError(f"port {port}: expected 0 to 65535; 0 takes any free port")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise AddressError(f"host {host!r}: not an address of this machine ({error}); try 127.0.0.1, or 0.0.0.0 for all") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections to time out
        listener.setblocking(False)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _bind_error(host, port, error) from error
    return listener


def listen(listener: socket.socket, host: str) -> Address:
    """Begins to listen. Raises PortInUseError when another process was quicker."""
    port = listener.getsockname()[1]
    try:
        listener.listen(2048)
    except OSError as error:
        raise _bind_error(host, port, error) from error
    return Address(host, port)


def _bind_error(host: str, port: int, error: OSError) -> ServingError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"port {port} on {host} is in use by another process; stop that one (`ss -ltnp 'sport = :{port}'` names it), "
            "choose another port, or port 0 for any free one"
        )
    reason = error.strerror or str(error)
    if error.errno == errno.EACCES:
        return AddressError(f"port {port} on {host}: {reason}; ports below 1024 need more rights, choose a higher one")
    return AddressError(f"cannot listen on {host}, port {port}: {reason}; try 127.0.0.1, or 0.0.0.0 for all addresses")
