"""Resources, updates and reports to and from their protobuf messages.

A resource's dataclass and its message have the same field names, so one
conversion serves them all. For control's traffic, not for the request path.
"""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from pydantic import TypeAdapter

from libs.common.explanation import Explanation, Question, ScaleSnapshot
from libs.common.limit_shares import LimitUse, Shares, Use
from libs.common.pb import control_pb2 as pb
from libs.common.process_messages import process_from_pb, process_to_pb
from libs.common.world_map import (
    KIND_OF,
    KINDS,
    Decision,
    Ref,
    Report,
    ReporterKind,
    Resource,
    Update,
)

MOST_DECISIONS = 2_000  # in one answer: a day of a region's, and less than a message may hold


@functools.cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])


@functools.cache
def _reporter_kind() -> TypeAdapter[ReporterKind]:
    return TypeAdapter(ReporterKind)


def resource_to_pb(resource: Resource) -> pb.Resource:
    """Write a resource."""
    kind = KIND_OF[type(resource)]
    fields = _adapter(kind).dump_python(resource, mode="json")
    if kind == "model":  # has free-form JSON in it, which the ten times faster way cannot write
        return json_format.ParseDict({kind: fields}, pb.Resource())
    return pb.Resource(**{kind: fields})


def resource_from_pb(message: pb.Resource) -> Resource:
    """Read a resource; pydantic's ValidationError says what does not stand."""
    kind = message.WhichOneof("value")
    if kind is None:
        raise ValueError("a resource of a kind that this version does not know")
    fields = json_format.MessageToDict(
        getattr(message, kind),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    resource: Resource = _adapter(kind).validate_python(fields)
    return resource


def flaw(resource: Resource) -> str:
    """Return why a resource cannot be handed out, or nothing."""
    try:
        written = resource_to_pb(resource).SerializeToString()
        resource_from_pb(pb.Resource.FromString(written))
    except (DecodeError, RecursionError, TypeError, ValueError, json_format.Error) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def resource_to_json(resource: Resource) -> bytes:
    """Write a resource as JSON, for the store."""
    return _adapter(KIND_OF[type(resource)]).dump_json(resource)


def resource_from_json(kind: str, text: str | bytes) -> Resource:
    """Read a resource from the store's JSON."""
    resource: Resource = _adapter(kind).validate_json(text)
    return resource


def update_to_pb(update: Update) -> pb.WatchResponse:
    """Write an update."""
    return pb.WatchResponse(
        version=update.version,
        complete=update.complete,
        puts=[resource_to_pb(each) for each in update.puts],
        deletes=[pb.ResourceRef(kind=name.kind, key=name.key) for name in update.deletes],
    )


def update_from_pb(message: pb.WatchResponse) -> Update:
    """Read an update; kinds that this version does not know are left out."""
    known = (each for each in message.puts if each.WhichOneof("value"))
    return Update(
        version=message.version,
        complete=message.complete,
        puts=tuple(resource_from_pb(each) for each in known),
        deletes=tuple(Ref(n.kind, n.key) for n in message.deletes if n.kind in KINDS),
    )


def report_to_pb(report: Report) -> pb.ReportRequest:
    """Write a report."""
    resources = [resource_to_pb(each) for each in report.resources]
    message = pb.ReportRequest(
        kind=report.kind, name=report.name, colo=report.colo, resources=resources
    )
    if report.use is not None:
        message.use.CopyFrom(_use_to_pb(report.use))
    if report.process is not None:
        message.process.CopyFrom(process_to_pb(report.process))
    return message


def report_from_pb(message: pb.ReportRequest) -> Report:
    """Read a report; ValueError for a kind of reporter that there is not."""
    kind = _reporter_kind().validate_python(message.kind)
    resources = tuple(resource_from_pb(each) for each in message.resources)
    use = _use_from_pb(message.use) if message.HasField("use") else None
    process = process_from_pb(message.process) if message.HasField("process") else None
    return Report(
        kind=kind,
        name=message.name,
        colo=message.colo,
        resources=resources,
        use=use,
        process=process,
    )


def _use_to_pb(use: Use) -> pb.Use:
    limits = [
        pb.LimitUse(
            name=each.name, share=each.share, asked=each.asked, used=each.used, day=each.day
        )
        for each in use.limits
    ]
    return pb.Use(applied=use.applied, even=use.even, limits=limits)


def _use_from_pb(message: pb.Use) -> Use:
    limits = (
        LimitUse(name=each.name, share=each.share, asked=each.asked, used=each.used, day=each.day)
        for each in message.limits
    )
    return Use(applied=message.applied, even=message.even, limits=tuple(limits))


def shares_to_pb(shares: Shares) -> pb.ReportResponse:
    """Write control's answer to an entry's report."""
    return pb.ReportResponse(
        number=shares.number,
        complete=shares.complete,
        even=shares.even,
        shares=shares.shares,
        keep_ms=int(shares.keep_s * 1000),
    )


def shares_from_pb(message: pb.ReportResponse) -> Shares:
    """Read control's answer to an entry's report."""
    return Shares(
        number=message.number,
        complete=message.complete,
        even=message.even,
        shares=dict(message.shares),
        keep_s=message.keep_ms / 1000,
    )


def question_to_pb(question: Question) -> pb.ExplainRequest:
    """Write a question about decisions."""
    return pb.ExplainRequest(
        model=question.model, region=question.region, at_ms=question.at_ms, count=question.count
    )


def question_from_pb(message: pb.ExplainRequest) -> Question:
    """Read a question about decisions."""
    count = min(message.count or 1, MOST_DECISIONS)
    return Question(model=message.model, region=message.region, at_ms=message.at_ms, count=count)


def explanation_to_pb(found: Explanation) -> pb.ExplainResponse:
    """Write the answer to one."""
    return pb.ExplainResponse(
        decisions=[resource_to_pb(each).decision for each in found.decisions],
        snapshots=[
            pb.ScaleSnapshot(
                model=each.model,
                region=each.region,
                at_ms=each.at_ms,
                queue_length=each.queue_length,
                replica_count=each.replica_count,
            )
            for each in found.snapshots
        ],
    )


def explanation_from_pb(message: pb.ExplainResponse) -> Explanation:
    """Read the answer to one."""
    decisions = (resource_from_pb(pb.Resource(decision=each)) for each in message.decisions)
    snapshots = (
        ScaleSnapshot(
            model=each.model,
            region=each.region,
            at_ms=each.at_ms,
            queue_length=each.queue_length,
            replica_count=each.replica_count,
        )
        for each in message.snapshots
    )
    return Explanation(
        decisions=tuple(each for each in decisions if isinstance(each, Decision)),
        snapshots=tuple(snapshots),
    )


class SnapshotOnDisk:
    """The last complete update, as one file; implements `ports.SnapshotFile`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Update | None:
        """Return what was saved last, None where there is nothing readable."""
        try:
            return update_from_pb(pb.WatchResponse.FromString(self._path.read_bytes()))
        except (FileNotFoundError, DecodeError, ValueError):
            return None

    def save(self, update: Update) -> None:
        """Replace the file, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(update_to_pb(update).SerializeToString())
            Path(name).replace(self._path)
        finally:
            Path(name).unlink(missing_ok=True)
