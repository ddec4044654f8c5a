"""Are the ports free? Asked before anything is started, so that a conflict changes nothing."""

import socket
from collections.abc import Collection, Iterable

import psutil

from stack.errors import StackError
from stack.parts import HOST, Part


def check_ports(parts: Iterable[Part], *, ours: Collection[int]) -> None:
    """Tries every port of the given parts; one that a process of `ours` listens on counts as free.

    Raises:
        StackError: names each port in use, who holds it, and the variable that moves it.
    """
    taken = []
    for part in parts:
        for variable, port in part.ports.items():
            if _is_free(port):
                continue
            holder = _holder(port)
            if holder is not None and holder.pid in ours:
                continue
            by = "" if holder is None else f" by {holder.name()} (pid {holder.pid})"
            taken.append(
                f"port {port} is in use{by}, and {part.name} needs it: "
                f"free it, or set {variable} in .env or the environment"
            )
    if taken:
        raise StackError("\n".join([*taken, "Nothing was started."]))


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        # As servers do: a port in TIME_WAIT is free.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
        return True


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
