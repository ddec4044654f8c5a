"""Values of Locust's command line, refused in words."""

import argparse
import math
from urllib.parse import urlsplit

TRACE_ID = "{trace_id}"
"""What the template of a trace's address has in the place of its id."""


def positive_number(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def http_url(text: str) -> str:
    """An address, or nothing."""
    if text and (urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname):
        raise argparse.ArgumentTypeError(f"{text!r} is no address such as http://127.0.0.1:9090")
    return text


def trace_template(text: str) -> str:
    """An address with the place of a trace's id in it, or nothing."""
    if text and TRACE_ID not in text:
        raise argparse.ArgumentTypeError(f"{text!r} has no {TRACE_ID} in it, where a trace's id goes")
    return http_url(text)
