"""How processes are, to and from protobuf."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from libs.common.pb import control_pb2 as pb
from libs.common.pb import usage_pb2 as usage_pb
from libs.common.process import (
    AnalyticsStatus,
    ControlStatus,
    EventsWaiting,
    Peer,
    PeerKind,
    Process,
    StoreStatus,
)


def process_to_pb(process: Process) -> pb.Process:
    """Write how a process is."""
    return pb.Process(**asdict(process))


def process_from_pb(message: pb.Process) -> Process:
    """Read how a process is."""
    events = message.events if message.HasField("events") else None
    return Process(
        version=message.version,
        started_ms=message.started_ms,
        now_ms=message.now_ms,
        host=message.host,
        world_version=message.world_version,
        disk_bytes=message.disk_bytes,
        disk_free_bytes=message.disk_free_bytes,
        files=message.files,
        most_files=message.most_files,
        events=_events(events) if events is not None else None,
        certificate_ends_ms=message.certificate_ends_ms,
    )


def _events(message: pb.EventsWaiting) -> EventsWaiting:
    return EventsWaiting(
        waiting=message.waiting,
        spooled=message.spooled,
        spool_bytes=message.spool_bytes,
        spool_most_bytes=message.spool_most_bytes,
        dropped=message.dropped,
        is_away=message.is_away,
    )


def status_to_pb(status: ControlStatus) -> pb.StatusResponse:
    """Write how control is."""
    return pb.StatusResponse(
        name=status.name,
        process=process_to_pb(status.process),
        active_since_ms=status.active_since_ms,
        has_standby=status.has_standby,
        watchers=status.watchers,
        mistakes=status.mistakes,
        peers=[_peer_to_pb(each) for each in status.peers],
        tick_s=status.tick_s,
    )


def status_from_pb(message: pb.StatusResponse) -> ControlStatus:
    """Read how control is."""
    return ControlStatus(
        name=message.name,
        process=process_from_pb(message.process),
        active_since_ms=message.active_since_ms,
        has_standby=message.has_standby,
        watchers=message.watchers,
        mistakes=tuple(message.mistakes),
        peers=tuple(_peer_from_pb(each) for each in message.peers),
        tick_s=message.tick_s,
    )


def _peer_to_pb(peer: Peer) -> pb.Peer:
    return pb.Peer(
        kind=peer.kind,
        name=peer.name,
        colo=peer.colo,
        is_reporting=peer.is_reporting,
        silent_ms=round(peer.silent_s * 1000),
        process=process_to_pb(peer.process) if peer.process is not None else None,
        ahead_ms=round(peer.ahead_s * 1000),
        behind_ms=round(peer.behind_s * 1000),
    )


def _peer_from_pb(message: pb.Peer) -> Peer:
    return Peer(
        kind=cast(PeerKind, message.kind),
        name=message.name,
        colo=message.colo,
        is_reporting=message.is_reporting,
        silent_s=message.silent_ms / 1000,
        process=process_from_pb(message.process) if message.HasField("process") else None,
        ahead_s=message.ahead_ms / 1000,
        behind_s=message.behind_ms / 1000,
    )


def analytics_to_pb(status: AnalyticsStatus) -> usage_pb.AnalyticsStatusResponse:
    """Write how analytics is."""
    return usage_pb.AnalyticsStatusResponse(
        version=status.version,
        started_ms=status.started_ms,
        connections=status.connections,
        stores=[usage_pb.StoreStatus(**asdict(each)) for each in status.stores],
    )


def analytics_from_pb(message: usage_pb.AnalyticsStatusResponse) -> AnalyticsStatus:
    """Read how analytics is."""
    return AnalyticsStatus(
        version=message.version,
        started_ms=message.started_ms,
        connections=message.connections,
        stores=tuple(
            StoreStatus(
                name=each.name,
                waiting=each.waiting,
                most_waiting=each.most_waiting,
                stored=each.stored,
                trouble=each.trouble,
            )
            for each in message.stores
        ),
    )
