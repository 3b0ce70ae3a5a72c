"""A network namespace for a run, as the kernel has it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def enter_private_network() -> str:
    """Move this process to a network namespace of its own, with only a loopback interface, up.

    Its ports cannot be reached from outside, nor collide with anything. A user other than root needs a user namespace
    as well, in which they keep their own id. Returns why it is not possible; empty if it is done. The process must
    have one thread.
    """
    if sys.platform != "linux":
        return "network namespaces need Linux"
    # A child tries it first: Ubuntu's AppArmor grants the namespace and forbids the next step, with no way back.
    number = _tried_by_child() or _enter()
    return f"the kernel forbids a network namespace here: {os.strerror(number)}" if number else ""


def _tried_by_child() -> int:
    child = os.fork()
    if child == 0:
        number = errno.EPERM
        try:
            number = _enter()
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _enter() -> int:
    """Enter the namespace; return the errno of the step that was refused, or 0."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | (_CLONE_NEWUSER if user else 0)):
        return ctypes.get_errno()
    try:
        if user:
            _map_identity("setgroups", "deny")
            _map_identity("uid_map", f"{user} {user} 1")
            _map_identity("gid_map", f"{group} {group} 1")
        _raise_loopback()
    except OSError as error:
        return error.errno or errno.EPERM
    return 0


def _map_identity(name: str, value: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(value)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
