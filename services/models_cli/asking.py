"""Asks a server what it serves: OpenAI's list of models over HTTP, KServe's metadata over gRPC."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import grpc
import orjson
from aiohttp import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientResponseError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
)

from libs.common.addresses import base_url, host_port
from libs.common.catalog import TaskName
from libs.common.pb import kserve_pb2 as kserve
from libs.common.pb.kserve_pb2_grpc import GRPCInferenceServiceStub
from libs.common.rpc import channel
from services.models_cli.guessing import CannotTell, Guess, Tensors, chosen, of_listed, of_tensors

ANSWER_S = 5.0
FIRST_TOKEN_S = 60.0  # a server may load its model at the first call
MOST_BYTES = 1024 * 1024


async def ask(
    url: str, *, name: str, served_as: str, key: str, task: TaskName | None
) -> tuple[Guess, dict[str, Any]]:
    """Return what is at an address, and what is to be listed of it; raises CannotTell."""
    if "://" in url and not url.startswith(("http://", "https://", "grpc://")):
        raise CannotTell(f"{url}: expected http://, https:// or grpc://, or host:port")
    if url.startswith(("http://", "https://")):
        return await _ask_openai(url, name=name, served_as=served_as, key=key, task=task)
    address = url.removeprefix("grpc://")
    try:
        host_port(address)
    except ValueError as error:
        raise CannotTell(f"--url: {error}, such as gpu:8001 or http://gpu:8000") from error
    try:
        return await _ask_triton(address, name=name, served_as=served_as, task=task), {}
    except NotGrpc as error:
        if url.startswith("grpc://"):
            raise CannotTell(f"{address}: no Triton answers there over gRPC: {error}") from error
        return await _ask_openai(address, name=name, served_as=served_as, key=key, task=task)


class NotGrpc(Exception):
    """Nobody at the address speaks KServe v2 over gRPC."""


async def _ask_openai(
    url: str, *, name: str, served_as: str, key: str, task: TaskName | None
) -> tuple[Guess, dict[str, Any]]:
    try:
        base = base_url(url)
    except ValueError as error:
        raise CannotTell(str(error)) from error
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with ClientSession(headers=headers, timeout=ClientTimeout(total=ANSWER_S)) as http:
        listed = await _models(http, base)
        known = {str(each["id"]): each for each in listed}
        model = chosen(list(known), name=name, wanted=served_as, where=base)
        backend = of_listed(known.get(model, {"id": model})) | {"external": [url]}
        found = task or await _task(http, base, model)
    longest = known.get(model, {}).get("max_model_len")
    properties = {"context_window": longest} if isinstance(longest, int) else {}
    says = f"{base} serves {model} with OpenAI's API (dialect {backend['dialect']})"
    return Guess(task=found, says=says, backend=backend), properties


async def _models(http: ClientSession, base: str) -> list[Mapping[str, Any]]:
    status, told = await _json(http, "GET", f"{base}/models")
    if status in (401, 403):
        raise CannotTell(f"{base} wants a key: put it into a file, and give --key FILE")
    data = told.get("data") if isinstance(told, dict) else None
    if isinstance(data, list):
        return [each for each in data if isinstance(each, dict) and "id" in each]
    root = base.rsplit("/", 1)[0]
    status, told = await _json(http, "GET", f"{root}/v2")
    if status == 200 and isinstance(told, dict) and "version" in told:
        raise CannotTell(
            f"{root} is Triton's HTTP port: give its gRPC port instead, usually 8001: "
            "--url host:8001"
        )
    raise CannotTell(f"{base}/models is no list of models (HTTP {status})")


async def _task(http: ClientSession, base: str, model: str) -> TaskName:
    """Find out what the model does by asking it for one token, and then for one vector."""
    wait = ClientTimeout(total=FIRST_TOKEN_S)
    chat = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    first, _ = await _json(http, "POST", f"{base}/chat/completions", chat, wait)
    if first == 200:
        return "text-generation"
    second, _ = await _json(
        http, "POST", f"{base}/embeddings", {"model": model, "input": "Hi"}, wait
    )
    if second == 200:
        return "text-embeddings"
    raise CannotTell(
        f"{model} answers neither chat completions (HTTP {first}) nor embeddings "
        f"(HTTP {second}): give --task"
    )


async def _json(
    http: ClientSession,
    method: str,
    url: str,
    body: Mapping[str, Any] | None = None,
    wait: ClientTimeout | None = None,
) -> tuple[int, Any]:
    """Return the status and the JSON of an answer, None where it is none; raises CannotTell."""
    try:
        async with http.request(method, url, json=body, timeout=wait or http.timeout) as response:
            content = await response.content.read(MOST_BYTES)
            status = response.status
    except (ClientError, OSError, TimeoutError) as error:
        raise CannotTell(f"{url}: {_why(error)}") from error
    try:
        return status, orjson.loads(content)
    except orjson.JSONDecodeError:
        return status, None


def _why(error: Exception) -> str:
    """Say in words what aiohttp says with the names of its own parts."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ClientConnectorDNSError):
        return f"cannot connect: there is no host {error.host}"
    if isinstance(error, ClientConnectorSSLError):
        return "it speaks no HTTPS: is it http://?"
    if isinstance(error, ClientConnectorError) and not isinstance(error, ClientSSLError):
        return f"cannot connect: {os.strerror(error.errno or 0)}"
    if isinstance(error, ClientResponseError):  # of an answer that could not be read
        return "it speaks no HTTP: is the port right, or is it https://?"
    return str(error) or type(error).__name__


async def _ask_triton(address: str, *, name: str, served_as: str, task: TaskName | None) -> Guess:
    async with channel(address) as opened:
        triton = GRPCInferenceServiceStub(opened)
        try:
            async with asyncio.timeout(ANSWER_S):
                index = await triton.RepositoryIndex(kserve.RepositoryIndexRequest(ready=True))
                names = [each.name for each in index.models]
                model = chosen(names, name=name, wanted=served_as, where=address)
                request = kserve.ModelMetadataRequest(name=model)
                metadata = await triton.ModelMetadata(request)
        except grpc.aio.AioRpcError as error:
            raise NotGrpc(error.details() or error.code().name) from error
        except TimeoutError as error:
            raise NotGrpc("no answer in time") from error
    tensors = Tensors(
        inputs={each.name: each.datatype for each in metadata.inputs},
        outputs={each.name: each.datatype for each in metadata.outputs},
    )
    try:
        guess = of_tensors(tensors)
    except CannotTell:
        if task is None:
            raise
        guess = Guess(task=task, says=f"its tensors are {tensors}")
    backend = {"kind": "triton", **guess.backend, "served_as": model, "external": [address]}
    says = f"the Triton at {address} has {model}: {guess.says}"
    return Guess(task=task or guess.task, says=says, backend=backend)
