"""A breaker on a clock of its own."""

from support.clock import Clock

from telemetry.export.breaker import (
    BreakerSettings,
    BreakerState,
    CircuitBreaker,
    Permit,
    Rejected,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class BreakerRig:
    """A breaker on a clock of its own, with the highest jitter, so that every wait has its full length."""

    def __init__(self, jitter: float = 1.0, **settings: float) -> None:
        self.clock = Clock()
        self.jitter = jitter
        self.breaker = CircuitBreaker(
            BreakerSettings(**settings),  # type: ignore[arg-type]
            clock=self.clock,
            random=lambda: self.jitter,
        )

    def permit(self) -> Permit:
        """Returns a permit; fails if there is none."""
        answer = self.breaker.acquire()
        assert isinstance(answer, Permit), answer
        return answer

    def rejection(self) -> Rejected:
        """Returns a rejection; fails if there is a permit."""
        answer = self.breaker.acquire()
        assert isinstance(answer, Rejected)
        return answer

    def succeed(self, times: int = 1) -> None:
        """Makes this many calls that succeed."""
        for _ in range(times):
            self.permit().success()

    def fail(self, times: int = 1) -> None:
        """Makes this many calls that fail."""
        for _ in range(times):
            self.permit().failure()

    def trip(self) -> None:
        """Opens a closed breaker."""
        self.fail(self.breaker.settings.failure_threshold)
        assert self.breaker.state is OPEN

    def wait_out(self) -> None:
        """Moves the clock to the end of the open time."""
        self.clock.now += self.breaker.snapshot().retry_in_seconds or 0.0
