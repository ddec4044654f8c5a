"""How the latest attempts went: for health, and for the log in a few lines."""

import logging
from dataclasses import dataclass

from .ledger import Ledger
from .otlp.answer import NO_OTLP
from .otlp.response import Fate, Outcome

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 60.0


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """The latest attempts' story; replaced as a whole, so any thread may read it."""

    last_success_at: float | None = None
    """On the sender's clock, in seconds."""
    last_error: str | None = None
    is_last_failure_permanent: bool = False


@dataclass(slots=True)
class _Trouble:
    told_at: float
    count_since: int = 0


class StatusBoard:
    """Keeps the status and tells the log: one line a minute for each kind of fault, and one when it is over.

    `tell` is for one thread at a time, the status for any.

    Args:
        what: is exported, for the log.
        ledger: of spans, to tell at the end of a fault how many were kept and lost.
    """

    def __init__(self, what: str, ledger: Ledger | None = None) -> None:
        self.status = SenderStatus()
        self._what = what
        self._ledger = ledger
        self._troubles: dict[str, _Trouble] = {}
        self._failing_since: float | None = None
        self._dropped_before = 0
        self._is_told = False

    def tell(self, outcome: Outcome, now: float) -> None:
        """Notes an attempt's outcome."""
        if outcome.fate is Fate.DELIVERED:
            if self._failing_since is not None:
                self._tell_recovery(now - self._failing_since)
            self._remark(outcome, now)
            self.status = SenderStatus(last_success_at=now)
            return
        if self._failing_since is None:
            self._failing_since = now
            self._dropped_before = self._dropped()
        self._is_told |= self._say(
            outcome.kind, now, f"exporting {self._what} failed ({outcome.kind}): {outcome.detail}"
        )
        self.status = SenderStatus(
            last_success_at=self.status.last_success_at,
            last_error=outcome.detail,
            is_last_failure_permanent=outcome.fate is Fate.POISON,
        )

    def tell_spool(self, trouble: str, now: float) -> None:
        """Notes that the spool cannot do what it should."""
        self._say("spool", now, f"the spool of unsent spans: {trouble}")

    def tell_unencodable(self, span: str, now: float) -> None:
        """Notes that a span could not be written, and is lost."""
        self._say("unencodable", now, f"a span cannot be encoded, and is dropped: {span}")

    def _remark(self, outcome: Outcome, now: float) -> None:
        """Tells what a Collector that took a batch had to say."""
        if outcome.kind == NO_OTLP:
            if NO_OTLP not in self._troubles:  # a wrong endpoint does not mend itself: once is enough
                self._say(NO_OTLP, now, f"a batch was taken, but {outcome.detail}")
        elif outcome.detail or outcome.rejected:
            why = outcome.detail or "no reason given"
            line = f"a batch was taken, {outcome.rejected} of its {self._what} rejected: {why}"
            self._say("rejected" if outcome.rejected else "remark", now, line)

    def _say(self, kind: str, now: float, line: str) -> bool:
        trouble = self._troubles.get(kind)
        if trouble is None:
            self._troubles[kind] = _Trouble(now)
            logger.warning("%s", line)
            return True
        trouble.count_since += 1
        if now - trouble.told_at < _SECONDS_BETWEEN_LINES:
            return False
        logger.warning("%s (%d times in %.0f s)", line, trouble.count_since, now - trouble.told_at)
        self._troubles[kind] = _Trouble(now)
        return True

    def _tell_recovery(self, seconds: float) -> None:
        self._failing_since = None
        if not self._is_told:
            return  # of a Collector that flaps, the beginnings are not told each time either
        self._is_told = False
        fates = ""
        if self._ledger is not None:
            reading, lost = self._ledger.read(), self._dropped() - self._dropped_before
            fates = f"{reading.in_memory + reading.spooled} span(s) were kept, {lost} lost; "
        logger.warning(
            "exporting %s works again after %.1f s: %slast error was: %s",
            self._what,
            seconds,
            fates,
            self.status.last_error,
        )

    def _dropped(self) -> int:
        return 0 if self._ledger is None else sum(self._ledger.read().dropped.values())
