"""Percent-encoding of what a URL cannot hold (RFC 3986, 2.1)."""

import re
from urllib.parse import quote

_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE = "/:!$&'()*+,;=%"


def percent_encoded(text: str, safe: str = "") -> str:
    """Returns a path or query with what needs it percent-encoded once: what is encoded already stays.

    Args:
        text: may hold undecodable bytes, as variables and file names do.
        safe: characters that stay as they are, beside those that every part of a URL may hold.
    """
    return quote(_LONE_PERCENT.sub("%25", text), safe=_SAFE + safe, errors="surrogateescape")
