"""The peers: other gateways and routers, each with what it needs to be started."""

from bench.peers.table import PEERS

__all__ = ["PEERS"]
