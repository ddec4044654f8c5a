"""Export headers, checked against what the transports can send before a first export fails."""

import re
from collections.abc import Mapping

_HTTP_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HTTP_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")
_GRPC_NAME = re.compile(r"[0-9a-z_.-]+")
_GRPC_VALUE = re.compile(r"[\x20-\x7e]*")


def check_headers(headers: Mapping[str, str], protocol: str) -> dict[str, str]:
    """Returns headers unchanged if they can be sent (RFC 9110, 5; gRPC over HTTP/2, "Custom-Metadata").

    Upper case is accepted: for gRPC, the transport converts it to lower case.

    Raises:
        ValueError: a header cannot be sent; the message gives only its name, since values are secret.
    """
    is_grpc = protocol != "http/protobuf"
    name_rule, value_rule = (_GRPC_NAME, _GRPC_VALUE) if is_grpc else (_HTTP_NAME, _HTTP_VALUE)
    for name, value in headers.items():
        if not name_rule.fullmatch(name.lower() if name.isascii() else name):
            raise ValueError(f"{name!r} is no name of a header for {protocol}")
        if is_grpc and name.lower().endswith("-bin"):
            raise ValueError(f"{name!r} is for bytes, by its -bin, and cannot be given as text")
        if not value_rule.fullmatch(value):
            raise ValueError(
                f"the value of {name!r} has a character, such as an end of a line, "
                f"that {protocol} cannot send"
            )
    return dict(headers)
