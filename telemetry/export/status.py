"""The results of the latest attempts, for health checks and for a concise log."""

import logging
from dataclasses import dataclass

from .ledger import Ledger
from .otlp.result import NO_OTLP, Disposition, ExportResult

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 60.0


@dataclass(frozen=True, slots=True)
class StatusReading:
    """The results of the latest attempts; replaced as a whole, so any thread may read it."""

    last_success_at: float | None = None
    """On the sender's clock, in seconds."""
    last_error: str | None = None
    is_last_failure_permanent: bool = False


@dataclass(slots=True)
class _Trouble:
    logged_at: float
    count_since: int = 0


class ExportStatus:
    """The export status, also logged: one line a minute for each kind of fault, and one on recovery.

    `record` may be called by one thread at a time; any thread may read `reading`.

    Args:
        what: the name of the exported items, for the log.
        ledger: counts spans, to log on recovery how many were kept and how many lost.
    """

    def __init__(self, what: str, ledger: Ledger | None = None) -> None:
        self.reading = StatusReading()
        self._what = what
        self._ledger = ledger
        self._troubles: dict[str, _Trouble] = {}
        self._failing_since: float | None = None
        self._dropped_before = 0
        self._is_logged = False

    def record(self, result: ExportResult, now: float) -> None:
        """Records an attempt's result."""
        if result.disposition is Disposition.DELIVERED:
            if self._failing_since is not None:
                self._log_recovery(now - self._failing_since)
            self._log_remark(result, now)
            self.reading = StatusReading(last_success_at=now)
            return
        if self._failing_since is None:
            self._failing_since = now
            self._dropped_before = self._dropped()
        self._is_logged |= self._log(
            result.kind, now, f"exporting {self._what} failed ({result.kind}): {result.detail}"
        )
        self.reading = StatusReading(
            last_success_at=self.reading.last_success_at,
            last_error=result.detail,
            is_last_failure_permanent=result.disposition is Disposition.PERMANENT,
        )

    def record_spool_trouble(self, trouble: str, now: float) -> None:
        """Records a problem with the spool."""
        self._log("spool", now, f"the spool of unsent spans: {trouble}")

    def record_unencodable(self, span: str, now: float) -> None:
        """Records that a span could not be encoded and is lost."""
        self._log("unencodable", now, f"dropped a span that cannot be encoded: {span}")

    def _log_remark(self, result: ExportResult, now: float) -> None:
        """Logs remarks on an accepted batch: a suspect answer, a message or rejected items."""
        if result.kind == NO_OTLP:
            if NO_OTLP not in self._troubles:  # a wrong endpoint does not fix itself: once is enough
                self._log(NO_OTLP, now, f"a batch was accepted, but {result.detail}")
        elif result.detail or result.rejected:
            why = result.detail or "no reason given"
            line = f"a batch was accepted, but {result.rejected} of its {self._what} were rejected: {why}"
            self._log("rejected" if result.rejected else "remark", now, line)

    def _log(self, kind: str, now: float, line: str) -> bool:
        trouble = self._troubles.get(kind)
        if trouble is None:
            self._troubles[kind] = _Trouble(now)
            logger.warning("%s", line)
            return True
        trouble.count_since += 1
        if now - trouble.logged_at < _SECONDS_BETWEEN_LINES:
            return False
        logger.warning("%s (%d times in %.0f s)", line, trouble.count_since, now - trouble.logged_at)
        self._troubles[kind] = _Trouble(now)
        return True

    def _log_recovery(self, seconds: float) -> None:
        self._failing_since = None
        if not self._is_logged:
            return  # if a Collector flaps, the start of each failure is not logged either
        self._is_logged = False
        fates = ""
        if self._ledger is not None:
            reading, lost = self._ledger.read(), self._dropped() - self._dropped_before
            fates = f"{reading.in_memory + reading.spooled} span(s) were kept, {lost} lost; "
        logger.warning(
            "exporting %s works again after %.1f s: %slast error was: %s",
            self._what,
            seconds,
            fates,
            self.reading.last_error,
        )

    def _dropped(self) -> int:
        return 0 if self._ledger is None else sum(self._ledger.read().dropped.values())
