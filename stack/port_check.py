"""Checks, before anything is started, that the ports are free, so that a conflict changes nothing."""

import socket
from collections.abc import Collection, Iterable

import psutil

from stack.errors import StackError
from stack.parts import Part
from stack.settings import HOST


def check_ports(parts: Iterable[Part], *, ours: Collection[int]) -> None:
    """Checks every port of the given parts; one that a process of `ours` listens on counts as free.

    Raises:
        StackError: a port is in use; the message names each, its holder, and the variable that sets it.
    """
    taken = []
    for part in parts:
        for variable, port in part.ports.items():
            if _is_free(port) or any(_listens(pid, port) for pid in ours):
                continue
            holder = _holder(port)
            by = "" if holder is None else f" by {holder.name()} (pid {holder.pid})"
            taken.append(
                f"port {port} is in use{by}, and {part.name} needs it: "
                f"free it, or set {variable} in .env or the environment (PORT_OFFSET moves all of them)"
            )
    if taken:
        raise StackError("\n".join([*taken, "Nothing was started."]))


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        # As servers do: a port in TIME_WAIT counts as free.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
        return True


def _listens(pid: int, port: int) -> bool:
    # Looks only at our own processes: on macOS, those of others require root.
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


def _holder(port: int) -> psutil.Process | None:
    try:
        for connection in psutil.net_connections("tcp"):
            if not connection.laddr or connection.status != psutil.CONN_LISTEN:
                continue
            if connection.laddr.port == port and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        return None
    return None
