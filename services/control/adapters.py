"""What the two files of an adapter must be: PEFT's form, and what the catalog allows for a model.

Both are checked before they are stored: of the weights only the header is read, which says
where each tensor lies, so that also the file's size is known.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.catalog import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Lora
from libs.common.errors import BadAdapter, TooLarge

LARGEST_CONFIG: Final = 1024 * 1024
LARGEST_HEADER: Final = 8 * 1024 * 1024  # thousands of tensors need one
PREFIX_BYTES: Final = 8  # the header's length, little-endian
ITEM_BYTES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
MOST_DIMENSION: Final = 2**32
TENSOR: Final = re.compile(r"base_model\.model\.((?:\w+\.)*(\w+))\.lora_([AB])\.weight", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What adapter_config.json says that the weights must keep."""

    rank: int
    target_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the header of adapter_model.safetensors says."""

    size: int  # of the whole file
    rank: int
    modules: tuple[str, ...]  # with their place in the model


def read_config(raw: bytes, lora: Lora) -> Config:
    """Check adapter_config.json; BadAdapter names the field, TooLarge."""
    if len(raw) > LARGEST_CONFIG:
        raise TooLarge(f"{ADAPTER_CONFIG} is larger than {LARGEST_CONFIG} bytes")
    fields = _json_object(raw, ADAPTER_CONFIG)
    if fields.get("peft_type") != "LORA":
        raise _bad("peft_type", f'expected "LORA", got {_shown(fields.get("peft_type"))}')
    for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if fields.get(name):
            raise _bad(name, "expected none: plain LoRA of one rank is all that is taken")
    if fields.get("bias", "none") != "none":
        raise _bad("bias", f'expected "none", got {_shown(fields["bias"])}')
    alpha = fields.get("lora_alpha")
    if not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise _bad("lora_alpha", f"expected a number above 0, got {_shown(alpha)}")
    _check_model_type(fields.get("model_type"), lora)
    return Config(
        rank=_rank(fields.get("r"), lora), target_modules=_targets(fields, lora.target_modules)
    )


def header_bytes(prefix: bytes) -> int:
    """Return how long the header is that follows the first 8 bytes; BadAdapter for none."""
    length = int.from_bytes(prefix, "little")
    if len(prefix) < PREFIX_BYTES or not 2 <= length <= LARGEST_HEADER:
        raise BadAdapter(f"{ADAPTER_WEIGHTS} does not begin as safetensors: no header's length")
    return length


def read_header(raw: bytes, lora: Lora) -> Weights:
    """Check a header of safetensors; BadAdapter names the tensor."""
    if raw[:1] != b"{":  # other readers take no space before it, either
        raise BadAdapter(f"{ADAPTER_WEIGHTS}: expected its header to be a JSON object")
    entries = _json_object(raw, ADAPTER_WEIGHTS)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadAdapter(f"{ADAPTER_WEIGHTS}: __metadata__: expected texts by name")
    if not entries:
        raise BadAdapter(f"{ADAPTER_WEIGHTS} has no tensors")
    spans = sorted((_span(name, entry), name) for name, entry in entries.items())
    end = 0
    for (begin, until), name in spans:
        if begin != end:
            raise _bad_tensor(name, f"data_offsets: expected to begin at {end}, not {begin}")
        end = until
    rank, modules = _pairs(entries, lora)
    return Weights(size=PREFIX_BYTES + len(raw) + end, rank=rank, modules=modules)


def check_together(config: Config, weights: Weights) -> None:
    """Check that both files are of one adapter. BadAdapter."""
    if config.rank != weights.rank:
        text = f"r is {config.rank} in {ADAPTER_CONFIG}, and {weights.rank} in {ADAPTER_WEIGHTS}"
        raise BadAdapter(text)
    ends = tuple(f".{target}" for target in config.target_modules)
    for module in weights.modules:
        if not f".{module}".endswith(ends):
            text = f"{ADAPTER_WEIGHTS} changes {module}, which target_modules do not name"
            raise BadAdapter(text)


def _check_model_type(value: Any, lora: Lora) -> None:
    if lora.model_types and value not in lora.model_types:
        raise _bad("model_type", f"expected {_listed(lora.model_types)}, got {_shown(value)}")


def _rank(value: Any, lora: Lora) -> int:
    if type(value) is not int or not 1 <= value <= lora.max_rank:
        raise _bad("r", f"expected a rank of 1 to {lora.max_rank}, got {_shown(value)}")
    return value


def _targets(fields: Mapping[str, Any], allowed: Sequence[str]) -> tuple[str, ...]:
    value = fields.get("target_modules")
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise _bad("target_modules", f"expected a list of modules, got {_shown(value)}")
    for name in value:
        if not name or (allowed and name.rpartition(".")[2] not in allowed):
            text = f"expected of {_listed(allowed or ['names'])}, got {_shown(name)}"
            raise _bad("target_modules", text)
    return tuple(value)


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor's data lies, which must be as long as its type and shape say."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _bad_tensor(name, "expected dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in ITEM_BYTES:
        text = f"dtype: expected {_listed(tuple(ITEM_BYTES))}, got {_shown(entry['dtype'])}"
        raise _bad_tensor(name, text)
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_numbers(shape, 2) or not all(1 <= each < MOST_DIMENSION for each in shape):
        raise _bad_tensor(name, f"shape: expected two dimensions, got {_shown(shape)}")
    if not _are_numbers(offsets, 2):
        raise _bad_tensor(name, f"data_offsets: expected two numbers, got {_shown(offsets)}")
    begin, end = offsets
    size = shape[0] * shape[1] * ITEM_BYTES[entry["dtype"]]
    if begin < 0 or end - begin != size:
        raise _bad_tensor(name, f"data_offsets: expected {size} bytes, got {_shown(offsets)}")
    return begin, end


def _pairs(entries: Mapping[str, Any], lora: Lora) -> tuple[int, tuple[str, ...]]:
    """Return the rank and the modules of the tensors, which must come as pairs of A and B."""
    ranks: dict[str, dict[str, int]] = {}
    for name, entry in entries.items():
        match = TENSOR.fullmatch(name)
        if match is None:
            text = "expected base_model.model.<module>.lora_A.weight, or lora_B"
            raise _bad_tensor(name, text)
        if lora.target_modules and match[2] not in lora.target_modules:
            text = f"expected a module of {_listed(lora.target_modules)}"
            raise _bad_tensor(name, text)
        side = 0 if match[3] == "A" else 1
        ranks.setdefault(match[1], {})[match[3]] = entry["shape"][side]
    for module, halves in ranks.items():
        if len(halves) != 2:
            raise BadAdapter(f"{ADAPTER_WEIGHTS}: {module[:200]}: lora_A and lora_B are a pair")
    found = {rank for halves in ranks.values() for rank in halves.values()}
    if len(found) != 1 or not 1 <= (rank := found.pop()) <= lora.max_rank:
        text = f"expected one rank of 1 to {lora.max_rank} for all tensors"
        raise BadAdapter(f"{ADAPTER_WEIGHTS}: {text}")
    return rank, tuple(ranks)


def _json_object(raw: bytes, file: str) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        why = "too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise BadAdapter(f"{file} is not valid JSON: {why}") from None
    if not isinstance(value, dict):
        raise BadAdapter(f"{file}: expected a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what two readers might read differently."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value


def _are_numbers(value: Any, count: int) -> bool:
    is_list = isinstance(value, list) and len(value) == count
    return is_list and all(type(each) is int for each in value)


def _shown(value: Any) -> str:
    try:
        return "nothing" if value is None else repr(value)[:100]
    except RecursionError:
        return "something too deep"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _bad(field: str, why: str) -> BadAdapter:
    return BadAdapter(f"{ADAPTER_CONFIG}: {field}: {why}", pointer=f"/{field}")


def _bad_tensor(name: str, why: str) -> BadAdapter:
    return BadAdapter(f"{ADAPTER_WEIGHTS}: {name[:200]}: {why}")
