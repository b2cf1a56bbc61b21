"""OpenAI's parameters that do nothing here, and those that cannot be had, by route.

What is ignored changes no answer, or only how fast it comes; docs/api.md has the reason of each.
What would change the answer is refused by its name, unless the value asks for nothing special.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.entry.bad_input import bad_input

IGNORED: Final = (  # on every route that has them
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
    "verbosity",
)
OF_MEDIA: Final = ("chunking_strategy", "moderation", "quality", "style", "timestamp_granularities")
OF_RESPONSES: Final = ("access_programs", "image", "include", "max_tool_calls", "truncation")


class Refused:
    """Why a parameter cannot be had, and which values of it ask for nothing."""

    __slots__ = ("harmless", "why")

    def __init__(self, why: str, harmless: Callable[[Any], bool] = lambda value: not value) -> None:
        self.why = why
        self.harmless = harmless

    def __repr__(self) -> str:
        return f"<Refused {self.why}>"


def _only(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


def _is_one(value: Any) -> bool:
    return value == 1 and value is not True


NO_PROBABILITIES: Final = "log probabilities are not available here"
NO_BIAS: Final = "the probabilities of tokens cannot be changed here"
NOT_KEPT: Final = "nothing is kept between calls here: send the whole conversation"
NO_MODERATION: Final = "nothing is moderated here"
NO_SPEAKERS: Final = "speakers are not told apart here"
NO_CHOICE: Final = "the model draws as it does"
FUNCTIONS: Final = "the older form of tools is not read here: use tools and tool_choice"

CHAT: Final[Mapping[str, Refused]] = {
    "audio": Refused("answers are text alone"),
    "function_call": Refused(FUNCTIONS),
    "functions": Refused(FUNCTIONS),
    "logit_bias": Refused(NO_BIAS),
    "logprobs": Refused(NO_PROBABILITIES),
    "modalities": Refused('answers are text alone: expected ["text"]', _only(["text"])),
    "moderation": Refused(NO_MODERATION),
    "top_logprobs": Refused(NO_PROBABILITIES),
    "web_search_options": Refused("there is no web search here", lambda value: False),
}
COMPLETIONS: Final[Mapping[str, Refused]] = {
    "best_of": Refused("answers are not ranked here: ask for n of them", _is_one),
    "echo": Refused("the prompt is not said again here"),
    "logit_bias": Refused(NO_BIAS),
    "logprobs": Refused(NO_PROBABILITIES, lambda value: value is False),  # 0 asks for some
    "suffix": Refused("text is not inserted here, only continued"),
}
RESPONSES: Final[Mapping[str, Refused]] = {
    "background": Refused("there is no queue for calls here yet"),
    "context_management": Refused("conversations are not shortened here"),
    "conversation": Refused(NOT_KEPT),
    "include": Refused(
        NO_PROBABILITIES, lambda value: "message.output_text.logprobs" not in (value or ())
    ),
    "moderation": Refused(NO_MODERATION),
    "previous_response_id": Refused(NOT_KEPT),
    "prompt": Refused("there are no stored prompts here: send instructions and input"),
    "top_logprobs": Refused(NO_PROBABILITIES),
}

SPEECH: Final[Mapping[str, Refused]] = {
    "instructions": Refused("how something is said cannot be described here"),
    "speed": Refused("models speak at their own speed here", _is_one),
    "stream_format": Refused("sound comes whole here: expected audio", _only("audio")),
}
TRANSCRIPTIONS: Final[Mapping[str, Refused]] = {
    "include": Refused(NO_PROBABILITIES),
    "keywords": Refused("what may be said is told by the prompt here"),
    "known_speaker_names": Refused(NO_SPEAKERS),
    "known_speaker_references": Refused(NO_SPEAKERS),
    "languages": Refused("one language is told here, by language"),
    "stream": Refused("transcripts come whole here"),
    "temperature": Refused("models listen as they are here"),
}
IMAGES: Final[Mapping[str, Refused]] = {
    "background": Refused(NO_CHOICE, _only("auto", "opaque")),
    "complexity": Refused(NO_CHOICE, _only("auto")),
    "frame_count": Refused("pictures do not move here", _is_one),
    "frame_duration_ms": Refused("pictures do not move here"),
    "output_compression": Refused(NO_CHOICE, _only(100)),
    "output_format": Refused(NO_CHOICE, _only("png")),
    "partial_images": Refused("pictures come whole here"),
    "stream": Refused("pictures come whole here"),
    "svg": Refused("pictures have pixels here"),
}


def refuse(theirs: Mapping[str, Any], refused: Mapping[str, Refused]) -> None:
    """Raise BadInput for the first parameter that asks for what cannot be had."""
    for name, each in refused.items():
        if name in theirs and not each.harmless(theirs[name]):
            raise bad_input([name], each.why)
