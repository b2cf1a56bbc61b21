"""Which modules are compiled: what a request runs through, and nothing that only waits or wires."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILDS = ROOT / "build" / "compiled"
GROUP = "constellation_hot"
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
_PACKAGES = {
    "libs.eager": "promise task timers turns within",
    "libs.http1": "answers bodies connection core heads lifetime messages outgoing responder",
    "libs.lean": "calls channel client connection frames headers heads messages method"
    " server_call server_connection session status streams writer",
    "libs.common": "answers cells clock connections deadline envelope envelope_messages"
    " envelopes outcome_bytes part_reader prices ranking remembering request_bytes request_ids"
    " values varint wire",
    "libs.common.clients": "inference",
    "libs.common.events": "codec occurrences outbox packing sealing sinks",
    "services.entry": "access attempts auth buckets calls gateway holds limits metrics"
    " prefixes routing",
    "services.entry.fronts": "bodies exchange hot openai openai_answers openai_bodies openai_calls"
    " openai_frames streaming workers_ai",
    "services.entry.tasks": "automatic_speech_recognition base chat dumb_pipe image_classification"
    " image_text_to_text image_to_text multimodal_embeddings object_detection schema sent so_far"
    " summarization tensor_task text_classification text_embeddings text_generation"
    " text_to_image text_to_speech texts translation",
    "services.entry.tasks.dialects": "base openai_text tensorrt_llm tensors",
    "services.server": "affinity body_tokens durations endpoints fair_queue forwarding gradient"
    " grpc_api health inference_events latency losses outcomes outliers ports"
    " preferences recent records room selection served_rate service shards"
    " standings tally tokens turnstile witnesses",
    "services.server.backends": "triton",
}
# What compiled modules are made of, or know: types and constants of the others are in them, too.
_FOLDERS = ("libs", "services/entry", "services/server")
HOT = tuple(f"{package}.{name}" for package, names in _PACKAGES.items() for name in names.split())


def source(module: str) -> Path:
    """Return where a module's source is."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def fitting() -> Path:
    """Return where the build is, or would be, that fits these sources and this interpreter.

    They all count together: compiled modules know one another's insides.
    """
    digest = hashlib.blake2b(SUFFIX.encode(), digest_size=8)
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return BUILDS / digest.hexdigest()


def files(build: Path) -> dict[str, Path]:
    """Return the extension of each module in a build, and the one that has the code of all."""
    extensions = {name: build.joinpath(*name.split(".")) for name in (*HOT, f"{GROUP}__mypyc")}
    return {name: path.with_name(path.name + SUFFIX) for name, path in extensions.items()}
