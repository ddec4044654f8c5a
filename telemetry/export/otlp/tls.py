"""The certificates of the settings, read anew when their files change."""

import logging
import os
import ssl
import threading

logger = logging.getLogger(__name__)

_Signature = tuple[tuple[int, ...] | None, ...]


class TlsFiles:
    """The TLS context for the certificates that the settings name. Thread-safe.

    Certificates are renewed on disk, often by the hour, and the process must not be restarted for it. So each
    new connection looks whether a file is another one; files that cannot be used, such as half-written ones,
    leave the context as it was until they change again.

    Args:
        authority: file of the certificates to trust; None for the system's, which are read once.
        certificate: file of the client certificate; None without mTLS.
        key: file of its key.

    Raises:
        OSError: a file cannot be read or used; the message names the files.
    """

    def __init__(
        self, *, authority: str | None = None, certificate: str | None = None, key: str | None = None
    ) -> None:
        self._authority, self._certificate, self._key = authority, certificate, key
        self._files = tuple(file for file in (authority, certificate, key) if file is not None)
        self._lock = threading.Lock()
        self._is_outdated = False
        self._signature = self._sign()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Returns the context for a new connection; never raises."""
        told: str | None = None
        failure: OSError | None = None
        with self._lock:
            signature = self._sign()
            if signature != self._signature:
                self._signature = signature
                try:
                    self._context = self._read()
                    told, self._is_outdated = "the changed certificates are in use", False
                except OSError as error:
                    failure = None if self._is_outdated else error
                    self._is_outdated = True
            context = self._context
        # A log handler may export, so no lock is held.
        if failure is not None:
            logger.warning("%s; those read before stay in use until the files change again", failure)
        elif told is not None:
            logger.info("%s: %s", told, ", ".join(self._files))
        return context

    def _sign(self) -> _Signature:
        """Returns what changes with the files. Taken before they are read, it never misses a change."""
        return tuple(_sign(file) for file in self._files)

    def _read(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._authority)
            if self._certificate is not None:
                # Without a password, a key with a passphrase would prompt for it on the terminal.
                context.load_cert_chain(self._certificate, self._key, password="")
        except OSError as error:
            raise OSError(f"the certificates in {', '.join(self._files)} cannot be used: {error}") from error
        return context


def _sign(file: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - the path is the setting's own text
    except OSError:
        return None
    # The time of change tells files apart that a copy with the old times has replaced.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
