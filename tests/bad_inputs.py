"""Calls that are wrong, as bytes, each with the status and the code of its refusal."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from services.entry.options import SCHEMA as OPTIONS
from services.entry.tasks.text_generation import TextGeneration
from tests.entry.fakes import (
    ACCOUNT,
    BLOCKED_SECRET,
    EXPIRED_SECRET,
    OTHER_SECRET,
    SECRET,
    TEXT,
    VECTORS,
)

MOST_BYTES = 64 * 1024  # of a body, as the tests set it
AI = f"/client/v4/accounts/{ACCOUNT}/ai"
RUN, EMBED = f"{AI}/run/{TEXT}", f"{AI}/run/{VECTORS}"
CHAT, COMPLETE, VECTOR, RESPOND = (
    f"/v1/{each}" for each in ("chat/completions", "completions", "embeddings", "responses")
)
TOKEN = f"Authorization: Bearer {SECRET}"
HELLO = [{"role": "user", "content": "hi"}]
WRONG: dict[str, list[Any]] = {  # values that are not of the type
    "integer": ["1", 1.5, [], {}, True],
    "number": ["1", [], {}, True],
    "boolean": ["yes", 1, [], {}],
    "string": [1, [], {}, True],
    "array": ["a", 1, {}, True],
    "object": ["a", 1, [], True],
}

Case = tuple[str, bytes, int, int]  # what is wrong, the request, and the refusal's status and code


def request(
    path: str,
    body: Any = b"",
    *headers: str,
    method: str = "POST",
    token: str = TOKEN,
    length: int | None = None,
) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = [f"{method} {path} HTTP/1.1", "Host: a", *([token] if token else []), *headers]
    told += [f"Content-Length: {len(raw) if length is None else length}"]
    return "\r\n".join(told).encode("latin-1") + b"\r\n\r\n" + raw


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def cases() -> list[Case]:
    found = [
        *_http(),
        *_callers(),
        *_addresses(),
        *_json(),
        *_encodings(),
        *_fields(),
        *_options(),
        *_openai(),
        *_usage(),
    ]
    assert len({name for name, *_ in found}) == len(found)
    return found


def _http() -> Iterator[Case]:
    """What is no HTTP, or could be read in two ways."""
    line = f"POST {RUN} HTTP/1.1"
    bad: dict[str, tuple[bytes, int]] = {
        "no method": (b"\x00\x01\x02\r\n\r\n", 400),
        "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        "HTTP/3.0": (head(f"POST {RUN} HTTP/3.0", "Host: a"), 505),
        "no version": (head(f"POST {RUN}", "Host: a"), 400),
        "no Host": (head(line, TOKEN, "Content-Length: 2"), 400),
        "two Hosts": (head(line, "Host: a", "Host: b", "Content-Length: 2"), 400),
        "two lengths": (head(line, "Host: a", "Content-Length: 2", "Content-Length: 3"), 400),
        "a length of two": (head(line, "Host: a", "Content-Length: 2, 3"), 400),
        "a length below 0": (head(line, "Host: a", "Content-Length: -1"), 400),
        "a length in hex": (head(line, "Host: a", "Content-Length: 0x10"), 400),
        "a length with a plus": (head(line, "Host: a", "Content-Length: +2"), 400),
        "a length of no digits": (head(line, "Host: a", "Content-Length: two"), 400),
        "a length and chunks": (
            head(line, "Host: a", "Content-Length: 2", "Transfer-Encoding: chunked"),
            400,
        ),
        "an unknown coding": (head(line, "Host: a", "Transfer-Encoding: gzip"), 400),
        "chunks, then another": (head(line, "Host: a", "Transfer-Encoding: chunked, gzip"), 400),
        "a bare line feed": (f"{line}\nHost: a\n\n".encode(), 400),
        "a folded line": (head(line, "Host: a", "X-A: b", " c"), 400),
        "a space before a colon": (head(line, "Host : a"), 400),
        "a header without a colon": (head(line, "Host: a", "nothing"), 400),
        "an empty name": (head(line, "Host: a", ": a"), 400),
        "a zero byte in a value": (head(line, "Host: a", "X-A: a\0b"), 400),
        "a line feed in a value": (head(line, "Host: a", "X-A: a\nb"), 400),
        "a space in the path": (head("POST /a b HTTP/1.1", "Host: a"), 400),
        "an unknown expectation": (head(line, "Host: a", "Expect: gold", "Content-Length: 2"), 417),
        "CONNECT": (head("CONNECT a:1 HTTP/1.1", "Host: a"), 501),
        "101 headers": (head(line, "Host: a", *(f"X-{n}: a" for n in range(101))), 431),
        "a header of 40 KB": (head(line, "Host: a", "X-A: " + "a" * 40_000), 431),
        "a path of 40 KB": (head(f"POST /{'a' * 40_000} HTTP/1.1", "Host: a"), 431),
    }
    for what, (raw, status) in bad.items():
        yield f"http: {what}", raw, status, 7003
    chunked = head(line, "Host: a", TOKEN, "Transfer-Encoding: chunked")
    for what, chunk in {
        "of no length": b"\r\n\r\n",
        "of a length below 0": b"-1\r\na\r\n",
        "of too large a length": b"fffffffffffffffff\r\n",
        "that is longer than told": b"1\r\nab\r\n0\r\n\r\n",
        "with a bare line feed": b"1\na\n0\n\n",
    }.items():
        yield f"http: a chunk {what}", chunked + chunk, 400, 7003
    yield "http: a body above the limit, as told", request(RUN, length=MOST_BYTES + 1), 413, 3006
    large = b"%x\r\n" % (MOST_BYTES + 1) + b"a" * (MOST_BYTES + 1) + b"\r\n0\r\n\r\n"
    yield "http: a body above the limit, in chunks", chunked + large, 413, 3006


def _callers() -> Iterator[Case]:
    for what, token, status, code in [
        ("no token", "", 401, 10000),
        ("an unknown token", "Authorization: Bearer nobody", 401, 10000),
        ("an empty token", "Authorization: Bearer ", 401, 10000),
        ("a token without its scheme", f"Authorization: {SECRET}", 401, 10000),
        ("another scheme", f"Authorization: Basic {SECRET}", 401, 10000),
        ("bytes for a token", "Authorization: Bearer \xff\xfe", 401, 10000),
        ("a token of 8 KB", "Authorization: Bearer " + "a" * 8192, 401, 10000),
        ("an expired token", f"Authorization: Bearer {EXPIRED_SECRET}", 401, 10000),
        ("another account's token", f"Authorization: Bearer {OTHER_SECRET}", 403, 10001),
    ]:
        yield f"caller: {what}", request(RUN, {"prompt": "hi"}, token=token), status, code
    blocked = request(CHAT, {}, token=f"Authorization: Bearer {BLOCKED_SECRET}")
    yield "caller: a blocked account", blocked, 403, 3023
    for path in (CHAT, COMPLETE, VECTOR, RESPOND):
        yield f"caller: nobody at {path}", request(path, {}, token=""), 401, 10000


def _addresses() -> Iterator[Case]:
    prompt = {"prompt": "hi"}
    for model in ("@cf/none", "a" * 5000, "%00", "%ff%fe", "..%2f..%2fetc", "@cf/demo", "%20"):
        yield f"model: {model[:20]}", request(f"{AI}/run/{model}", prompt), 400, 5007
    for path in ("/v2", "/client/v4", f"{AI}/walk", "/v1/chat", "//", "/%2e%2e/x", "/docs/x.js"):
        yield f"address: {path}", request(path, method="GET"), 404, 7000
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
        yield f"method: {method}", request(RUN, method=method), 405, 7002
    for path in ("/healthz", "/metrics", "/v1/models"):
        yield f"method: POST at {path}", request(path), 405, 7002


def _usage() -> Iterator[Case]:
    """Questions that are none; a filter that is misspelt would make a sum too large."""
    for query in [
        "group_by=day",
        "group_by=model,,hour",
        "from=yesterday",
        "from=2026-11-28T01:00:00",
        "to=-1",
        "to=1e12",
        "from=" + "9" * 30,
        "to=2026-02-30T00:00:00Z",
        "source=phone",
        "error_code=many",
        "error_code=-1",
        "format=xml",
        "modle=a",
        "model=" + "a" * 513,
        "finetune=%00",
    ]:
        yield f"usage: {query[:30]}", request(f"{AI}/usage?{query}", method="GET"), 400, 5006
    for query in ["limit=0", "limit=1001", "limit=ten", "before=x", "before=1.2@s", "hour=1"]:
        where = f"{AI}/usage/requests?{query}"
        yield f"usage: {query}", request(where, method="GET"), 400, 5006
    yield "usage: nobody", request(f"{AI}/usage", method="GET", token=""), 401, 10000
    yield "method: POST at usage", request(f"{AI}/usage"), 405, 7002


def _json() -> Iterator[Case]:
    """Bodies that are no JSON object, on a route of each front."""
    for path in (RUN, CHAT):
        for what, raw in {
            "empty": b"",
            "blank": b"  ",
            "null": b"null",
            "a number": b"1",
            "a text": b'"prompt"',
            "a list": b'[{"prompt":"a"}]',
            "truth": b"true",
            "cut in a name": b'{"prom',
            "cut in a text": b'{"prompt":"hi',
            "cut in an escape": b'{"prompt":"\\u00',
            "cut before its end": b'{"prompt":"hi"',
            "followed by more": b'{"prompt":"hi"}{}',
            "with a comma too much": b'{"prompt":"hi",}',
            "with single quotes": b"{'prompt':'hi'}",
            "with a comment": b'{"prompt":"hi"/**/}',
            "NaN": b'{"prompt":"hi","temperature":NaN}',
            "Infinity": b'{"prompt":"hi","temperature":Infinity}',
            "a leading zero": b'{"prompt":"hi","seed":01}',
            "a raw line feed in a text": b'{"prompt":"a\nb"}',
            "no UTF-8": b'{"prompt":"\xff\xfe"}',
            "cut UTF-8": b'{"prompt":"\xe2\x82"}',
            "an overlong zero": b'{"prompt":"\xc0\x80"}',
            "half a surrogate": b'{"prompt":"\\ud800"}',
            "with a byte order mark": b'\xef\xbb\xbf{"prompt":"hi"}',
            "UTF-16": '{"prompt":"hi"}'.encode("utf-16"),
            "lists 20,000 deep": b'{"messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
            "objects 8,000 deep": b'{"a":' * 8_000 + b"1" + b"}" * 8_000,
            "lists without an end": b"[" * 60_000,
        }.items():
            yield f"json at {path}: {what}", request(path, raw), 400, 5006
    deep: Any = "a"
    for _ in range(200):
        deep = [deep]
    yield "json: 200 deep in a field", request(RUN, {"messages": deep}), 400, 5006
    many = b'{"prompt":"hi","seed":' + b"9" * 5000 + b"}"
    yield "json: a number of 5,000 digits", request(RUN, many), 400, 5006


def _encodings() -> Iterator[Case]:
    plain = b'{"prompt":"hi"}'
    for what, raw, coding in [
        ("gzip that is none", plain, "gzip"),
        ("gzip that is cut short", gzip.compress(plain)[:-9], "gzip"),
        ("gzip that is broken", gzip.compress(plain)[:10] + b"\xff" * 20, "gzip"),
        ("deflate that is none", b"\xff" * 20, "deflate"),
        ("deflate that is cut short", zlib.compress(plain)[:-6], "deflate"),
        ("br", plain, "br"),
        ("zstd", plain, "zstd"),
        ("compress", plain, "compress"),
    ]:
        told = f"Content-Encoding: {coding}"
        yield f"encoding: {what}", request(RUN, raw, told), 400, 5006
    bomb = gzip.compress(b" " * 20_000_000)
    yield "encoding: 20 MB in 20 KB", request(RUN, bomb, "Content-Encoding: gzip"), 413, 3006
    form = "Content-Type: multipart/form-data"
    for what, kind, raw in [
        ("a form without a boundary", form, b"--x\r\n\r\n"),
        ("a form that is none", f"{form}; boundary=x", b"nothing"),
        ("a form that is cut short", f"{form}; boundary=x", b"--x\r\nContent-Disposition: f"),
        ("a picture for a text", "Content-Type: image/png", b"\x89PNG\r\n\x1a\n"),
        ("sound for a text", "Content-Type: audio/wav", b"RIFF\0\0\0\0WAVE"),
        ("an empty form", "Content-Type: application/x-www-form-urlencoded", b""),
        ("a form of another field", "Content-Type: application/x-www-form-urlencoded", b"a=b"),
    ]:
        yield f"type: {what}", request(RUN, raw, kind), 400, 5006


def _fields() -> Iterator[Case]:
    """Every field of a task with values of other types, and outside of its range."""
    for name, schema in TextGeneration.schema["properties"].items():
        given = {} if name in ("prompt", "messages") else {"prompt": "hi"}
        for value in WRONG.get(str(schema.get("type")), []):
            if name in ("raw",) and value == "yes":
                continue
            body = given | {name: value}
            yield f"field: {name} {json.dumps(value)}", request(RUN, body), 400, 5006
        for bound, step in (("minimum", -1), ("maximum", 1)):
            if bound in schema:
                body = given | {name: schema[bound] + step}
                yield f"field: {name} beyond its {bound}", request(RUN, body), 400, 5006
    for what, body in {
        "neither prompt nor messages": {},
        "both of them": {"prompt": "hi", "messages": HELLO},
        "an empty prompt": {"prompt": ""},
        "no message": {"messages": []},
        "a message that is a text": {"messages": ["hi"]},
        "a message without a role": {"messages": [{"content": "hi"}]},
        "an unknown role": {"messages": [{"role": "king", "content": "hi"}]},
        "content of a number": {"messages": [{"role": "user", "content": 1}]},
        "five stops": {"prompt": "hi", "stop": list("abcde")},
        "a stop of a number": {"prompt": "hi", "stop": 1},
        "more tokens than the model has": {"prompt": "hi", "max_tokens": 513},
        "a stream of a list": {"prompt": "hi", "stream": []},
        "an adapter of a number": {"prompt": "hi", "lora": 1},
        "an empty adapter": {"prompt": "hi", "lora": ""},
        "an unknown adapter": {"prompt": "hi", "lora": "nobody"},
        "an adapter of another model": {"prompt": "hi", "lora": "vectors-only"},
        "an adapter of another account": {"prompt": "hi", "lora": "theirs"},
    }.items():
        yield f"field: {what}", request(RUN, body), 400, 5006
    for what, body in {
        "no text": {},
        "an empty text": {"text": ""},
        "no texts": {"text": []},
        "101 texts": {"text": ["a"] * 101},
        "a text of a number": {"text": 1},
        "a number among texts": {"text": ["a", 1]},
        "an empty one among texts": {"text": ["a", ""]},
        "unknown pooling": {"text": "a", "pooling": "max"},
        "text and contexts": {"text": "a", "contexts": [{"text": "b"}]},
        "a context of a number": {"query": "a", "contexts": [1]},
        "a query alone": {"query": "a"},
    }.items():
        yield f"vectors: {what}", request(EMBED, body), 400, 5006
    yield "vectors: an adapter", request(EMBED, {"text": "a", "lora": "x"}), 405, 5005


def _options() -> Iterator[Case]:
    for name, schema in OPTIONS["properties"].items():
        for value in WRONG.get(str(schema.get("type")), [])[:3]:
            body = {"prompt": "hi", "options": {name: value}}
            yield f"option: {name} {json.dumps(value)}", request(RUN, body), 400, 5006
        if schema.get("type") in ("integer", "boolean"):
            path = f"{RUN}?{name}=maybe"
            yield f"option: {name} in the query", request(path, {"prompt": "hi"}), 400, 5006
        if "maximum" in schema:
            path = f"{RUN}?{name}={schema['maximum'] + 1}"
            yield f"option: {name} beyond its range", request(path, {"prompt": "hi"}), 400, 5006
    for what, options in {"a list": [], "a text": "fast", "a number": 1}.items():
        body = {"prompt": "hi", "options": options}
        yield f"option: {what} for all", request(RUN, body), 400, 5006


def _openai() -> Iterator[Case]:
    bodies: dict[str, dict[str, Any]] = {
        CHAT: {"model": TEXT, "messages": HELLO},
        COMPLETE: {"model": TEXT, "prompt": "hi"},
        VECTOR: {"model": VECTORS, "input": "hi"},
        RESPOND: {"model": TEXT, "input": "hi"},
    }
    for path, body in bodies.items():
        for name in body:
            rest = {key: value for key, value in body.items() if key != name}
            yield f"{path}: without {name}", request(path, rest), 400, 5006
            for value in (1, {}, True):
                bad = body | {name: value}
                yield f"{path}: {name} {json.dumps(value)}", request(path, bad), 400, 5006
        unknown = request(path, body | {"model": "none"})
        yield f"{path}: an unknown model", unknown, 400, 5007
        other = VECTORS if body["model"] == TEXT else TEXT
        yield f"{path}: a model of another task", request(path, body | {"model": other}), 400, 5006
    chat = bodies[CHAT]
    for what, more in {
        "temperature 3": {"temperature": 3},
        "top_p 2": {"top_p": 2},
        "n 0": {"n": 0},
        "n of a text": {"n": "1"},
        "a seed of a text": {"seed": "1"},
        "stream of a text": {"stream": "soon"},
        "stream_options of a list": {"stream": True, "stream_options": []},
        "log probabilities": {"logprobs": True},
        "a bias": {"logit_bias": {"1": 1}},
        "sound": {"modalities": ["audio"]},
        "an unknown response format": {"response_format": {"type": "xml"}},
        "tools of a text": {"tools": "all"},
    }.items():
        yield f"{CHAT}: {what}", request(CHAT, chat | more), 400, 5006
    for what, more in {
        "other dimensions": {"dimensions": 0},
        "a format": {"encoding_format": "x"},
    }.items():
        yield f"{VECTOR}: {what}", request(VECTOR, bodies[VECTOR] | more), 400, 5006
