"""The check for ports that are taken, and by which process."""

import os
import socket

import psutil
import pytest

from stack.errors import StackError
from stack.parts import Part
from stack.port_check import check_ports


def test_own_ports_are_known_where_only_root_sees_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, a second `up` accepts the ports of the first, and a stranger's is still reported."""

    def refuse(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        part = Part("jaeger", "", "", "", {"JAEGER_PORT": port})
        check_ports([part], ours=[os.getpid()])
        with pytest.raises(StackError, match=f"port {port} is in use, and jaeger needs it"):
            check_ports([part], ours=[])
