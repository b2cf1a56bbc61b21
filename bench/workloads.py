"""What is asked, of everyone alike: paths, bodies, and what a right answer has in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from bench import canned

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "cst_token-for-the-benchmark"
EMBEDDINGS = "@cf/bench/text-embeddings"
COALESCED = "@cf/bench/text-generation-coalesced"
PACED = "@cf/bench/text-generation-paced"
SLOW = "@cf/bench/text-generation-slow"  # to hold many streams at once
NAMES = ("unary", "stream_coalesced", "stream_paced")

TOKENS = 128  # of one coalesced stream
STEP_S = 0.02  # between two tokens of a paced one
SLOW_STEP_S = 1.0
TEXT = (
    "Which of these two sentences is nearer in meaning to what was asked before, and why is it so? "
    "Say it in a few words."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request and how to know its answer: `markers` are in it, `tokens` is its length."""

    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    markers: tuple[str, ...] = ()
    tokens: int = 0  # of a stream; 0: one answer

    def raw(self, host: str) -> bytes:
        """Return the request as it goes over the wire."""
        body = self.body.encode()
        headers = {
            "Host": host,
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            **self.headers,
            "Content-Length": str(len(body)),
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def embeddings() -> Ask:
    """Return the unary request: 200 bytes in, 400 out."""
    body = {"model": EMBEDDINGS, "input": [TEXT], "encoding_format": "float"}
    numbers = (canned.NUMBERS[0], canned.NUMBERS[-1])
    return Ask(path="/v1/embeddings", body=to_json(body), markers=numbers)


def chat(model: str, *, tokens: int, stream: bool = True, prompt: str = TEXT, **more: str) -> Ask:
    """Return a conversation's request: a stream of so many tokens, or one answer."""
    body = {
        "model": model,
        "stream": stream,
        "max_tokens": tokens,
        **more,
        "messages": [{"role": "user", "content": prompt}],
    }
    markers = ("[DONE]",) if stream else (canned.ANSWER,)
    ask = Ask(path="/v1/chat/completions", body=to_json(body), markers=markers)
    return Ask(path=ask.path, body=ask.body, markers=markers, tokens=tokens if stream else 0)


def run(model: str, body: dict[str, object], *, markers: tuple[str, ...], tokens: int = 0) -> Ask:
    """Return a request in the words of the project's own API."""
    path = f"/client/v4/accounts/{ACCOUNT}/ai/run/{model}"
    return Ask(path=path, body=to_json(body), markers=markers, tokens=tokens)


def ask(workload: str, *, seconds: float, tokens: int = TOKENS) -> Ask:
    """Return a workload's request; a paced stream lasts as long as it is measured."""
    match workload:
        case "unary":
            return embeddings()
        case "stream_coalesced":
            return chat(COALESCED, tokens=tokens)
        case "stream_paced":
            return chat(PACED, tokens=int(seconds / STEP_S))
        case _:
            raise ValueError(f"there is no workload {workload!r}; there are: {', '.join(NAMES)}")


def step_of(model: str) -> float:
    """Return the seconds between two tokens, by the model's name; 0 where they come at once."""
    if "paced" in model:
        return STEP_S
    return SLOW_STEP_S if "slow" in model else 0.0


def to_json(body: object) -> str:
    """Return a body as it is sent."""
    return orjson.dumps(body).decode()
