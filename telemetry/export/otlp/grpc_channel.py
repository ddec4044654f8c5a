"""Opens gRPC channels with options for exports: several servers, connections that end, names that move."""

import json

import grpc

from ...settings.grpc_target import GrpcTarget
from .response import LONGEST_RESPONSE_BYTES
from .result import LARGEST_REQUEST_BYTES

_ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
_OPTIONS: dict[str, int | str] = {
    "grpc.max_receive_message_length": LONGEST_RESPONSE_BYTES,
    # Requests take turns over all addresses of a name, and pass over those that are not connected.
    "grpc.service_config": _ROUND_ROBIN,
    # Without a retry policy, gRPC sends again only what no server has begun to process (gRFC A6, "Transparent
    # Retries"), such as a request that crosses a server's GOAWAY: no attempt is hidden from the breaker.
    "grpc.enable_retries": 1,
    "grpc.service_config_disable_resolution": 1,
    # A larger request than this is not sent again. It is a limit, not an allocation.
    "grpc.per_rpc_retry_buffer_size": LARGEST_REQUEST_BYTES,
    # Otherwise two channels to one address would share a connection, even a dead one.
    "grpc.use_local_subchannel_pool": 1,
    # Despite its name, the connect timeout: it survives one lost SYN, but abandons a black hole.
    "grpc.min_reconnect_backoff_ms": 2_000,
    # Of several servers, one that was away is used again soon; the default is two minutes.
    "grpc.max_reconnect_backoff_ms": 5_000,
    # When a connection is lost, its name is resolved anew; by default not within half a minute.
    "grpc.dns_min_time_between_resolutions_ms": 2_000,
    # By default, servers end a connection whose client pings more often than every 5 minutes, or while no
    # request is in progress (gRFC A8), so pings find little here. But with them comes the kernel's own limit:
    # it gives up a connection on which nothing is acknowledged for so long (gRFC A18).
    "grpc.keepalive_time_ms": 330_000,
    "grpc.keepalive_timeout_ms": 20_000,
}


def open_channel(
    target: GrpcTarget, credentials: grpc.ChannelCredentials | None, user_agent: str
) -> grpc.Channel:
    """Returns a new channel, which connects when it is first used.

    Args:
        target: where it leads.
        credentials: TLS credentials; None for plain text.
        user_agent: who exports; gRPC appends itself.
    """
    named = {**_OPTIONS, "grpc.primary_user_agent": user_agent}
    if target.authority is not None:
        named["grpc.default_authority"] = target.authority
    if target.is_direct:
        named["grpc.enable_http_proxy"] = 0
    options = tuple(named.items())
    if credentials is None:
        return grpc.insecure_channel(target.name, options=options)
    return grpc.secure_channel(target.name, credentials, options=options)
