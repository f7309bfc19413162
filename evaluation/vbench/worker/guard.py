"""A process that cannot reach the network: what would open a connection or start a downloader is refused and
remembered.

VBench and its libraries fetch what they miss (wget, git, torch.hub, hub clients) and some of them swallow the
failure. Here a missing file must end in an error message. Standard library only.

What the hook cannot see is a program that a library starts, and code that calls the kernel without Python:
the first is sent to a proxy that nobody serves (job.py), and that scoring needs neither is shown in a
network namespace without any interface (tests/vbench/test_official.py).
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from typing import Any

REFUSED: list[str] = []
"""What was refused in this process, in order: a caller looks here, since libraries swallow exceptions."""

DOWNLOADERS = frozenset({"wget", "curl", "git", "unzip", "aria2c"})
RESOLVE = frozenset(
    {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}
)
SEND = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
LOCAL_FAMILIES = frozenset(
    family for family in socket.AddressFamily if family.name in ("AF_UNIX", "AF_NETLINK")
)
"""Sockets within this machine; some systems have no netlink."""


class NetworkRefusedError(ConnectionError):
    """Something wanted to leave this machine."""


def forbid_network() -> None:
    """From here on nothing leaves the machine: an audit hook cannot be taken away again."""
    sys.addaudithook(_refuse_network)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in RESOLVE:
        _refuse(f"asked for the address of {arguments[0]!r}")
    elif event in SEND and arguments[0].family not in LOCAL_FAMILIES:
        _refuse(f"wanted to reach {arguments[1]!r}")
    elif event == "subprocess.Popen":
        words = arguments[1] if isinstance(arguments[1], list | tuple) else [arguments[1]]
        _refuse_program([os.fsdecode(word) for word in words if isinstance(word, str | bytes)])
    elif event == "os.system":
        _refuse_program([os.fsdecode(arguments[0])])


def _refuse_program(words: list[str]) -> None:
    """Refuse a downloader, also one inside a shell line."""
    plain = [part for word in words[:3] for part in _split(word)]
    if names := DOWNLOADERS & {os.path.basename(part) for part in plain}:
        _refuse(f"wanted to start {min(names)}")


def _split(word: str) -> list[str]:
    try:
        return shlex.split(word)
    except ValueError:
        return [word]


def _refuse(what: str) -> None:
    REFUSED.append(what)
    raise NetworkRefusedError(
        f"scoring runs without network, but something {what}: a file is missing; see `make fetch`."
    )
