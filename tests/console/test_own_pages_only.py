"""Only the console's own pages, on this machine, may talk to it."""

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from console.app import OwnPagesOnly

OWN = "127.0.0.1:8080"


@pytest.fixture
def client() -> TestClient:
    """A client of an application behind the middleware."""
    app = FastAPI()

    @app.get("/")
    async def page() -> str:
        return "page"

    @app.websocket("/ws")
    async def act(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("done")
        await socket.close()

    app.add_middleware(OwnPagesOnly, port=8080)
    return TestClient(app, base_url=f"http://{OWN}")


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": f"http://{OWN}"}, {"origin": "http://localhost:8080"}, {"host": "localhost:8080"}],
)
def test_own_pages_are_served(headers: dict[str, str], client: TestClient) -> None:
    """Either name of this machine is accepted, and so is a request without an Origin."""
    assert client.get("/", headers=headers).status_code == 200
    with client.websocket_connect("/ws", headers={"host": OWN, **headers}) as socket:
        assert socket.receive_text() == "done"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"http://{OWN}.evil.example"},
        {"host": "evil.example"},
        {"host": "127.0.0.1"},
        {"host": ""},
    ],
)
def test_other_sites_reach_neither_pages_nor_buttons(headers: dict[str, str], client: TestClient) -> None:
    """A foreign Origin or Host is refused, even if the name resolves to this machine."""
    assert client.get("/", headers=headers).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/ws", headers={"host": OWN, **headers}),
    ):
        pass
    assert refused.value.code == 1008


def test_no_page_can_be_laid_under_another(client: TestClient) -> None:
    """Otherwise users could be tricked into pressing buttons that they do not see."""
    assert client.get("/").headers["content-security-policy"] == "frame-ancestors 'none'"
