"""The input of OpenAI's responses, as the messages of a chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from services.entry.bad_input import bad_input

Message = dict[str, Any]
Path = tuple[str | int, ...]
ROLES: Final = ("user", "assistant", "system", "developer")
TEXTS: Final = ("input_text", "output_text", "text")


class Messages:
    """The messages that an input means, and where in it each of them stands."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.places: list[Path] = []

    def __repr__(self) -> str:
        return f"<Messages of {self.places}>"

    def add(self, message: Message, place: Path) -> None:
        """Take a message."""
        self.messages.append(message)
        self.places.append(place)

    def add_item(self, item: Any, place: Path) -> None:
        """Take an item of the input; raises BadInput for one that is not known here."""
        if not isinstance(item, Mapping):
            raise bad_input(place, "expected an object")
        kind = item.get("type", "message")
        read = READERS.get(kind) if isinstance(kind, str) else None
        if read is None:
            raise bad_input([*place, "type"], f"expected one of {', '.join(READERS)}")
        read(self, item, place)


def messages_of(instructions: str | None, given: str | Sequence[Any]) -> Messages:
    """Return what instructions and input say; raises BadInput."""
    found = Messages()
    if instructions:
        found.add({"role": "system", "content": instructions}, ("instructions",))
    if isinstance(given, str):
        found.add({"role": "user", "content": given}, ("input",))
        return found
    for at, item in enumerate(given):
        found.add_item(item, ("input", at))
    return found


def _message(found: Messages, item: Mapping[str, Any], place: Path) -> None:
    role = item.get("role")
    if role not in ROLES:
        raise bad_input([*place, "role"], f"expected one of {', '.join(ROLES)}")
    found.add({"role": role, "content": _content(item.get("content"), (*place, "content"))}, place)


def _called(found: Messages, item: Mapping[str, Any], place: Path) -> None:
    """Calls of tools that stand together are one turn of the assistant's."""
    function = {name: _text(item, name, place) for name in ("name", "arguments")}
    call = {"id": _text(item, "call_id", place), "type": "function", "function": function}
    last = found.messages[-1] if found.messages else {}
    if "tool_calls" in last:
        last["tool_calls"].append(call)
    else:
        found.add({"role": "assistant", "content": "", "tool_calls": [call]}, place)


def _output(found: Messages, item: Mapping[str, Any], place: Path) -> None:
    content = _content(item.get("output"), (*place, "output"))
    number = _text(item, "call_id", place)
    found.add({"role": "tool", "tool_call_id": number, "content": content}, place)


def _reasoning(found: Messages, item: Mapping[str, Any], place: Path) -> None:
    """What a model thought is told to none again."""


READERS: Final[Mapping[str, Callable[[Messages, Mapping[str, Any], Path], None]]] = {
    "message": _message,
    "function_call": _called,
    "function_call_output": _output,
    "reasoning": _reasoning,
}


def _content(content: Any, place: Path) -> str | list[Message]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise bad_input(place, "expected a string or an array")
    return [_part(part, (*place, at)) for at, part in enumerate(content)]


def _part(part: Any, place: Path) -> Message:
    if not isinstance(part, Mapping):
        raise bad_input(place, "expected an object")
    kind = part.get("type")
    if kind in TEXTS:
        return {"type": "text", "text": _text(part, "text", place)}
    if kind == "refusal":
        return {"type": "text", "text": _text(part, "refusal", place)}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": _text(part, "image_url", place)}}
    raise bad_input([*place, "type"], "expected input_text, output_text, refusal or input_image")


def _text(item: Mapping[str, Any], name: str, place: Path) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise bad_input([*place, name], "expected a string")
    return value
