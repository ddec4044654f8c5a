"""`python -m demo`: the shop under load while its Collector dies and returns, shown live, with a verdict."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.live import Live

from demo import screen
from demo.load import shop_until
from demo.programs import Collector, Shop, free_port
from demo.story import Reading, Story, judge
from telemetry.health.report import read_report

_LOOK_SECONDS = 0.5
_LINE_SECONDS = 3.0
_START_SECONDS = 30.0
_LONGEST_DRAIN_SECONDS = 30.0


def main(
    seconds: Annotated[float, typer.Option(min=8, max=600, help="How long the load lasts.")] = 50,
    rate: Annotated[float, typer.Option(min=1, max=1_000, help="Requests a second.")] = 60,
) -> None:
    """Kills the Collector for a third of the time, and shows what becomes of every span."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="telemetry-demo-") as folder:
        port = free_port()
        collector = Collector(port)
        try:
            collector.start()
            with Shop(Path(folder), port) as shop:
                story = asyncio.run(_play(shop, collector, seconds, rate, console))
        finally:
            collector.kill()
    promises = judge(story, collector.spans)
    console.print(screen.verdict(promises))
    raise typer.Exit(0 if all(promise.is_kept for promise in promises) else 1)


async def _play(shop: Shop, collector: Collector, seconds: float, rate: float, console: Console) -> Story:
    story = Story(killed_at=seconds * 0.3, returned_at=seconds * 0.65)
    async with httpx.AsyncClient(timeout=5) as client:
        await _wait_for(client, shop)
        began = time.monotonic()

        def now() -> float:
            return time.monotonic() - began

        load = asyncio.create_task(
            shop_until(shop, rate, lambda: now() >= seconds, began, story.requests.append)
        )
        told_at = -_LINE_SECONDS
        with Live(console=console, auto_refresh=False) as live:
            while not _is_over(story, now(), seconds):
                if now() >= story.returned_at:
                    if not collector.is_alive:
                        await asyncio.to_thread(collector.start)
                elif now() >= story.killed_at and collector.is_alive:
                    await asyncio.to_thread(collector.kill)
                story.readings += [await _look(client, shop, service, now()) for service in shop.ports]
                if console.is_terminal:
                    live.update(screen.picture(story, now(), collector.spans), refresh=True)
                elif now() - told_at >= _LINE_SECONDS:
                    told_at = now()
                    console.print(screen.line(story, now(), collector.spans), soft_wrap=True)
                await asyncio.sleep(_LOOK_SECONDS)
        await load
    return story


def _is_over(story: Story, now: float, seconds: float) -> bool:
    if now < seconds + 2 * _LOOK_SECONDS:
        return False
    is_drained = all(
        reading.ledger.pending == 0 and reading.breaker == "closed" for reading in story.latest().values()
    )
    return is_drained or now > seconds + _LONGEST_DRAIN_SECONDS


async def _wait_for(client: httpx.AsyncClient, shop: Shop) -> None:
    deadline = time.monotonic() + _START_SECONDS
    for service in shop.ports:
        while True:
            try:
                await client.get(shop.url(service, "/healthz"))
                break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{service} did not start:\n{shop.log(service)}") from None
                await asyncio.sleep(0.1)


async def _look(client: httpx.AsyncClient, shop: Shop, service: str, at: float) -> Reading:
    health = read_report((await client.get(shop.url(service, "/health/telemetry"))).content)
    return Reading(
        at=at,
        service=service,
        breaker=health.circuit_breaker.state,
        ledger=health.ledger,
        spool_bytes=health.spool.bytes,
        buffer_bytes=health.queue.buffer_bytes,
    )


if __name__ == "__main__":
    typer.run(main)
