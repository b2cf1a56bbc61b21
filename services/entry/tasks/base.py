"""What all tasks share: a body becomes a payload, a reply becomes a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from libs.common.answers import AnswerReader
from libs.common.catalog import Model, TaskName
from libs.common.envelope import NO_UNITS, InferReply, Outcome, PayloadKind, Units, Usage
from libs.common.errors import ModelFailed
from libs.common.wire import Tensor, payload_to_tensors
from services.entry.tasks.forms import fields
from services.entry.tasks.media import NO_LIMITS, FileLimits
from services.entry.tasks.schema import InputSchema, Schema
from services.entry.tasks.sent import JSON_TYPES, Sent, json_object
from services.entry.tasks.texts import Texts

Result = dict[str, Any]
Shown: TypeAlias = Texts | Result  # of a stream: texts alone, or a result that says more
Rendered: TypeAlias = Any  # what JSON can say, or a Binary
TENSORS: Final = PayloadKind.TENSORS
Templates = Callable[[str], str]
USAGE: Final[Schema] = {
    "type": "object",
    "properties": {
        "prompt_tokens": {"type": "integer", "minimum": 0},
        "completion_tokens": {"type": "integer", "minimum": 0},
        "total_tokens": {"type": "integer", "minimum": 0},
    },
}


class ParsedInput:
    """A body that was found right, with all defaults."""

    __slots__ = ("units", "values")

    def __init__(self, values: Mapping[str, Any], units: Units = NO_UNITS) -> None:
        self.values = values
        self.units = units

    def __repr__(self) -> str:
        return f"<ParsedInput {' '.join(self.values)}>"


class Binary:
    """An answer that goes out as it is, without an envelope."""

    __slots__ = ("content", "content_type")

    def __init__(self, content: bytes, content_type: str) -> None:
        self.content = content
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"<Binary {len(self.content)} bytes of {self.content_type}>"


class Renderer(Protocol):
    """Turns the parts of one stream into what a client sees, and can go on after a break."""

    @property
    def parts_seen(self) -> int:
        """How many parts there were."""
        ...

    def parts(self, payloads: Sequence[bytes]) -> list[Shown]:
        """Return what the parts say, in order; nothing of one that says nothing yet."""
        ...

    def end(self, outcome: Outcome) -> Result:
        """Return what a client sees last."""
        ...

    def used_if_whole(self, parsed: ParsedInput) -> Usage | None:
        """Return what its last attempt used if a stream broke after all was said, else None."""
        ...

    def rest(self, parsed: ParsedInput) -> ParsedInput | None:
        """Return the input that asks for what is missing of a stream that broke.

        None where it cannot be asked for. The next parts are those of the answer to it.
        """
        ...


class Task(ABC):
    """One task as one model takes it; made once per model, holds no call's state.

    `schema` is of the body, `output` of the result. Where that has a `contentMediaType`,
    the answer is such bytes, and has no envelope.
    """

    name: ClassVar[TaskName]
    schema: ClassVar[Schema]
    output: ClassVar[Schema]
    raw_field: ClassVar[str] = ""  # the field that a body of bytes is, such as image
    may_be_binary: ClassVar[bool] = False  # the answer: a picture, sound, or anything
    streams: ClassVar[bool] = False  # whether it is a StreamingTask
    payload_kind: PayloadKind = TENSORS
    limits: FileLimits = NO_LIMITS  # the registry sets what the settings say

    def __init__(self, model: Model, templates: Templates) -> None:
        """`templates` returns the text of a chat template by the path that the catalog has."""
        self.model = model
        self.input = InputSchema(self.schema, model.schema)
        self.answers = AnswerReader()
        self._ours = {theirs: name for name, theirs in model.backend.tensors.items()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.name}>"

    def output_schema(self) -> Schema:
        """Return the schema of what this model answers."""
        return self.output

    def read(self, sent: Sent) -> Mapping[str, Any]:
        """Return the fields of a body, control fields among them; raises BadInput."""
        if sent.content_type in JSON_TYPES:
            return json_object(sent.content)
        return fields(sent, self.input.document["properties"], raw_field=self.raw_field)

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check a body without its control fields; raises BadInput."""
        return ParsedInput(values=self.input.read(body))

    def prompt(self, parsed: ParsedInput) -> str:
        """Return the text of which a model keeps what it has read; empty where it keeps none."""
        return ""

    @abstractmethod
    def payload(self, parsed: ParsedInput, *, stream: bool, adapter: str) -> bytes:
        """Write the input in the dialect of the model's backend."""

    @abstractmethod
    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the result that answers the call; raises ModelFailed."""

    def tensor(self, name: str) -> str:
        """Return what the model calls one of the task's tensors."""
        return self.model.backend.tensors.get(name, name)

    def outputs(self, payload: bytes) -> Mapping[str, Tensor]:
        """Read an answer's tensors under the task's names for them."""
        tensors = self.answers.read(payload)
        if not self._ours:
            return tensors
        return {self._ours.get(name, name): tensor for name, tensor in tensors.items()}


class StreamingTask(Task):
    """A task that can answer with a stream, part by part."""

    streams = True

    @abstractmethod
    def renderer(self, parsed: ParsedInput, keep_bytes: int = 0) -> Renderer:
        """Return what renders one stream.

        `keep_bytes` bounds what it keeps to go on from; longer streams cannot.
        """


def results(shown: Shown) -> list[Result]:
    """Return what is shown as results, one of each part that says something."""
    if isinstance(shown, Texts):
        return [{"response": text} for text in shown.each()]
    return [shown]


def needed(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a tensor that the answer must have; raises ModelFailed."""
    if name not in tensors:
        raise _missing(name, tensors)
    return tensors[name]


def no_tensor(name: str, payloads: Iterable[bytes]) -> ModelFailed:
    """Return the error for the first of these answers that has no such tensor."""
    answers = map(payload_to_tensors, payloads)
    return _missing(name, next(each for each in answers if name not in each))


def _missing(name: str, tensors: Mapping[str, Tensor]) -> ModelFailed:
    found = ", ".join(tensors) or "none"
    return ModelFailed(f"the model's answer has no tensor {name!r} (it has: {found})", sent=True)


def usage_of(usage: Usage) -> Result:
    """Return the usage as clients know it."""
    total = usage.tokens_in + usage.tokens_out
    return {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": total,
    }
