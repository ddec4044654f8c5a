"""Are the ports free? Asked before anything is started, so that a conflict changes nothing."""

import socket
from collections.abc import Iterable

import psutil

from stack.errors import StackError
from stack.parts import HOST, Part


def check_ports(parts: Iterable[Part]) -> None:
    """Tries every port of the given parts.

    Raises:
        StackError: names each port in use, who holds it, and the variable that moves it.
    """
    taken = [
        f"port {port} is in use{_holder(port)}, and the {part.name} needs it: "
        f"free it, or set {variable} in .env or the environment"
        for part in parts
        for variable, port in part.ports.items()
        if not _is_free(port)
    ]
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


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
