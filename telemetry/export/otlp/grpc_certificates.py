"""The certificates for gRPC, read anew when their files change."""

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import grpc

from ...settings.destination import Destination

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0
_Signature = tuple[tuple[int, ...], ...]


class GrpcCertificates:
    """TLS credentials from the files that the settings name. Thread-safe.

    Certificates are often renewed on disk, and the process must not be restarted for it. A channel keeps what
    it was opened with: if `credentials` is another object now, a new one is needed.

    Args:
        authority: file of the CA certificate that the server's is verified with; None for gRPC's own.
        key: file of the mTLS key; None without mTLS.
        certificate: file of the mTLS certificate.
        clock: monotonic seconds.

    Raises:
        OSError: a file cannot be read.
    """

    def __init__(
        self,
        *,
        authority: str | None = None,
        key: str | None = None,
        certificate: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authority, self._key, self._certificate = authority, key, certificate
        self._clock = clock
        self._lock = threading.Lock()
        self._is_told = False
        self._signature = self._sign()
        self._next_check_at = clock() + _CHECK_SECONDS
        self.credentials = self._read()
        """The latest usable ones, replaced as a whole."""

    @classmethod
    def of(cls, to: Destination) -> Self:
        """Reads those that a destination's settings name."""
        return cls(authority=to.certificate, key=to.client_key, certificate=to.client_certificate)

    def refresh(self) -> None:
        """Reads all files again if one has changed, which is looked at once a second at most; never raises.

        Files that cannot be used, such as half-written ones, leave everything as it was; they are told once,
        and looked at again until they can be.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            trouble = self._look()
        finally:
            self._lock.release()
        # A log handler may export, so no lock is held.
        if trouble is not None:
            logger.warning(
                "changed certificates cannot be used, so exports keep the former ones: %s", trouble
            )

    def _look(self) -> str | None:
        """Returns what there is to tell."""
        now = self._clock()
        if now < self._next_check_at:
            return None
        self._next_check_at = now + _CHECK_SECONDS
        try:
            signature = self._sign()
            if signature == self._signature:
                return None
            self._check()
            credentials = self._read()
            if self._sign() != signature:
                return None  # somebody is writing: a second later it will be done
        except (OSError, ValueError) as error:
            is_told, self._is_told = self._is_told, True
            return None if is_told else f"{type(error).__name__}: {error}"
        self.credentials, self._signature, self._is_told = credentials, signature, False
        return None

    @property
    def _files(self) -> tuple[str, ...]:
        return tuple(file for file in (self._authority, self._key, self._certificate) if file is not None)

    def _sign(self) -> _Signature:
        """Returns what is different after each change of the files, whether written or replaced.

        Raises:
            OSError: one is not there.
        """
        found = map(os.stat, self._files)
        return tuple(
            (each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in found
        )

    def _check(self) -> None:
        """Checks the files as far as Python can; gRPC itself would tell with each request that fails.

        Raises:
            OSError: one cannot be read, or the two mTLS files are no pair.
            ValueError: one is no PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._authority is not None:
            context.load_verify_locations(cadata=Path(self._authority).read_text("ascii", "ignore"))
        if self._certificate is not None:
            # Without a password, a key with a passphrase would prompt for it on the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")

    def _read(self) -> grpc.ChannelCredentials:
        def read(file: str | None) -> bytes | None:
            return None if file is None else Path(file).read_bytes()

        return grpc.ssl_channel_credentials(
            root_certificates=read(self._authority),
            private_key=read(self._key),
            certificate_chain=read(self._certificate),
        )
