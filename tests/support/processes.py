"""Processes and their sockets, as Linux shows them in /proc."""

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path


def descendants(pid: int) -> set[int]:
    """Return the processes that came of one, while their parents live."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It has just ended.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = children.get(waiting.pop(), [])
        found.update(new)
        waiting += new
    return found


def named(pids: Iterable[int], name: str) -> list[int]:
    """Return those of some processes that have a name in their command line, rising."""
    found = []
    for pid in pids:
        with suppress(OSError):  # It has just ended.
            if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return sorted(found)


@dataclass(frozen=True)
class Socket:
    """A TCP or UDP socket.

    Attributes:
        local: The address that it is bound to.
        remote: The address at its other end, 0.0.0.0 or :: if there is none.
        is_listening: Whether it takes connections.
    """

    local: str
    remote: str
    is_listening: bool

    @property
    def is_local(self) -> bool:
        """Whether it neither hears nor reaches another machine."""
        local, remote = _plain(self.local), _plain(self.remote)
        is_bound_to_this_machine = local.is_loopback or not self.is_listening
        return is_bound_to_this_machine and (remote.is_loopback or remote.is_unspecified)


def _plain(address: str) -> IPv4Address | IPv6Address:
    """Return an address, as one of version 4 if it is one within version 6."""
    parsed = ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed


def sockets(pids: Iterable[int]) -> set[Socket]:
    """Return the sockets that processes have open at the moment."""
    found = set()
    for pid in pids:
        with suppress(OSError):  # It has just ended.
            inodes = _inodes(pid)
            found |= {entry for inode, entry in _table(pid) if inode in inodes}
    return found


def _inodes(pid: int) -> set[str]:
    inodes = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # It has just been closed.
            link = str(file.readlink())
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    return inodes


def _table(pid: int) -> list[tuple[str, Socket]]:
    """Return the sockets of a process's network namespace, with their inodes."""
    entries = []
    for name, family in (("tcp", 4), ("tcp6", 6), ("udp", 4), ("udp6", 6)):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            local, remote = (_address(field, family) for field in fields[1:3])
            # 0A is LISTEN; an unconnected UDP socket, 07, takes what comes.
            is_listening = fields[3] == ("0A" if name.startswith("tcp") else "07")
            entries.append((fields[9], Socket(local, remote, is_listening)))
    return entries


def _address(field: str, version: int) -> str:
    words = bytes.fromhex(field.partition(":")[0])
    packed = b"".join(
        struct.pack(">I", *struct.unpack("=I", words[i : i + 4])) for i in range(0, len(words), 4)
    )
    return socket.inet_ntop(socket.AF_INET if version == 4 else socket.AF_INET6, packed)
