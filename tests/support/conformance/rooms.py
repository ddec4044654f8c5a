"""The WebSockets of the application: each ends in its own way."""

from fastapi import FastAPI, WebSocket
from starlette.responses import PlainTextResponse


def add_rooms(app: FastAPI) -> None:
    """Adds them below `/room`."""

    @app.websocket("/room/{name}")
    async def echo(socket: WebSocket, name: str) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close(4000)

    @app.websocket("/rooms/refused")
    async def refused(socket: WebSocket) -> None:
        await socket.close(1008)

    @app.websocket("/rooms/denied")
    async def denied(socket: WebSocket) -> None:
        await socket.send_denial_response(PlainTextResponse("no", status_code=402))

    @app.websocket("/rooms/silent")
    async def silent(socket: WebSocket) -> None:
        """Neither accepts nor refuses."""

    @app.websocket("/rooms/early")
    async def early(socket: WebSocket) -> None:
        raise ValueError("before the handshake")

    @app.websocket("/rooms/late")
    async def late(socket: WebSocket) -> None:
        await socket.accept()
        raise ValueError("after the handshake")

    @app.websocket("/rooms/open")
    async def stays_open(socket: WebSocket) -> None:
        await socket.accept()

    @app.websocket("/rooms/number/{number}")
    async def number(socket: WebSocket, number: int) -> None:
        await socket.accept()
        await socket.close()
