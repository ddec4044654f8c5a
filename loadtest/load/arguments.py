"""Argument types for Locust's command line, with readable errors."""

import argparse
import math
from urllib.parse import urlsplit

TRACE_ID = "{trace_id}"
"""The placeholder for the id in the template of a trace's address."""


def positive_number(text: str) -> float:
    """Parses a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def http_url(text: str) -> str:
    """Checks an HTTP address; an empty text passes."""
    if text and (urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as http://127.0.0.1:9090")
    return text


def trace_template(text: str) -> str:
    """Checks an HTTP address with a placeholder for a trace's id; an empty text passes."""
    if text and TRACE_ID not in text:
        raise argparse.ArgumentTypeError(f"{text!r} has no {TRACE_ID} in it, where a trace's id goes")
    return http_url(text)
