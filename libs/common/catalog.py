"""The catalog: every model and finetune, as the configuration's files have them.

The types' names and defaults are the file format; `catalog_files` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

from libs.common.bounds import (
    AtLeastOne,
    AtLeastZero,
    FileSize,
    NotNegative,
    Positive,
    Seconds,
    Share,
    UnixMs,
)

TaskName = Literal[
    "text-generation",
    "text-classification",
    "text-embeddings",
    "text-to-image",
    "text-to-speech",
    "automatic-speech-recognition",
    "image-classification",
    "image-to-text",
    "image-text-to-text",
    "object-detection",
    "translation",
    "summarization",
    "multimodal-embeddings",
    "dumb-pipe",
]
Datatype = Literal[
    "BYTES",
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
]
Dialect = Literal[
    "vllm", "tensorrt_llm", "tensorrt_llm_api", "seeds", "openai_http", "sglang", "cog"
]
DIALECTS: Mapping[str, tuple[Dialect, ...]] = {  # by the kind of backend that speaks them
    "triton": ("vllm", "tensorrt_llm", "tensorrt_llm_api", "seeds"),
    "openai_http": ("openai_http", "vllm", "sglang"),
    "cog": ("cog",),
}
ToolParser = Literal["", "hermes", "llama3_json", "mistral"]  # as vLLM names them
Name = Annotated[str, MinLen(1)]
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)  # all that an adapter needs
LONGEST_SCHEDULE_MIN = 7 * 24 * 60
PUBLIC_PREFIX = "cf-public-"  # of the names under which everyone finds public finetunes
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what becomes a folder's or a file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a list of models shows."""

    author: str = ""
    tags: tuple[str, ...] = ()
    beta: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may run a model: `all`, or a list of account ids."""

    accounts: Literal["all"] | tuple[str, ...] = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTensors:
    """The output tensors that count tokens; empty: parts are counted instead."""

    tokens_in: str = ""
    tokens_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeInput:
    """One input tensor of a probe; without a shape it has one dimension."""

    name: Name
    values: tuple[str | bool | float, ...]
    datatype: Datatype = "BYTES"
    shape: tuple[AtLeastOne, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A tiny inference that shows whether the model itself answers; no inputs: none is made."""

    inputs: tuple[ProbeInput, ...] = ()
    timeout_s: Seconds = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What serves a model, and how to speak to it."""

    kind: Literal["triton", "openai_http", "cog"] = "triton"
    dialect: Dialect = "seeds"
    repository: str = ""
    served_as: str = ""
    external: tuple[str, ...] = ()
    provider: str = ""
    dedicated: bool = False
    tensors: Mapping[str, str] = field(default_factory=dict)
    chat_template: str = ""
    tool_parser: ToolParser = ""
    usage: UsageTensors = UsageTensors()
    probe: Probe = Probe()
    key: str = ""
    command: tuple[Name, ...] = ()
    ready_path: str = ""

    @property
    def shares(self) -> bool:
        """Whether its instances share a node's Triton, which holds one of each model."""
        return not self.dedicated and not self.command


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountShare:
    """An account's standing in a model's queue."""

    weight: Positive = 1.0
    guaranteed: AtLeastZero = 0
    maximum: AtLeastZero = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """How many requests an instance takes at once, and how many may wait."""

    per_instance: AtLeastOne = 4
    queue: AtLeastZero = 64
    adaptive: bool = False
    accounts: Mapping[str, AccountShare] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Bounds of a request, in seconds."""

    first_part_s: Seconds = 30.0
    idle_s: Seconds = 30.0
    total_s: Seconds = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Which adapters a model takes."""

    enabled: bool = False
    max_rank: AtLeastOne = 32
    resident: AtLeastOne = 8
    model_types: tuple[str, ...] = ()
    target_modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Neurons per unit."""

    per_token_in: NotNegative = 0.0
    per_token_out: NotNegative = 0.0
    per_request: NotNegative = 0.0
    per_character_in: NotNegative = 0.0
    per_megapixel: NotNegative = 0.0
    per_step: NotNegative = 0.0
    per_audio_second: NotNegative = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one instance needs: whole GPUs for itself, or with none but memory a part of one."""

    gpu_memory_mb: AtLeastZero = 0  # of each of its GPUs
    gpus: AtLeastZero = 0
    cpus: NotNegative = 1.0
    memory_mb: AtLeastZero = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is different in one region; None: as the model has it."""

    min: AtLeastZero | None = None
    max: AtLeastZero | None = None
    slo_late_share: Share | None = None
    boot_s: NotNegative | None = None
    keep_alive_s: NotNegative | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """At least so many instances from a cron time on, for so many minutes."""

    cron: Name
    minutes: Annotated[int, Ge(1), Le(LONGEST_SCHEDULE_MIN)]
    min: AtLeastZero
    region: str = ""  # empty: every region
    timezone: Name = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Bounds and aims for the number of instances, per region."""

    min: AtLeastZero = 1
    max: AtLeastOne = 1
    region: Mapping[str, Bounds] = field(default_factory=dict)
    slo_late_share: Share = 0.003
    boot_s: NotNegative = 5.0
    keep_alive_s: NotNegative | None = None  # None: as long as the SLO asks
    schedules: tuple[Schedule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of the catalog."""

    name: Annotated[str, MinLen(1)]
    task: TaskName
    description: str = ""
    listing: Listing = Listing()
    aliases: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    access: Access = Access()
    backend: Backend = Backend()
    permits: Permits = Permits()
    shards: Annotated[int, Ge(1), Le(1024)] = 1
    tier: str = "standard"
    priority: Annotated[int, Ge(0), Le(9)] = 5
    timeouts: Timeouts = Timeouts()
    schema: Mapping[str, Any] = field(default_factory=dict)
    lora: Lora = Lora()
    price: Price = Price()
    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    async_queue: bool = False
    base64_answers: bool = False

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.name

    @property
    def served_as(self) -> str:
        """The model's name where it runs: in Triton the repository folder's, unless said."""
        if self.backend.kind == "openai_http":
            return self.backend.served_as or self.name
        said = self.backend.served_as or self.backend.repository.rsplit("/", 1)[-1]
        return said or self.name.rsplit("/", 1)[-1].replace("-", "_").replace(".", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One uploaded file of a finetune, which never changes."""

    file: Literal["adapter_config.json", "adapter_model.safetensors"]
    size: FileSize
    sha256: str  # in hexadecimal: what control keeps it under


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune:
    """A LoRA of an account, or of the catalog (no account), for one model."""

    id: Annotated[str, MinLen(1)]
    name: Annotated[str, MinLen(1)]
    model: Annotated[str, MinLen(1)]
    account: str = ""
    public: bool = False
    description: str = ""
    adapter: str = ""  # folder with adapter_config.json and adapter_model.safetensors
    created_at_ms: UnixMs = 0
    modified_at_ms: UnixMs = 0
    assets: tuple[Asset, ...] = ()  # in place of `adapter`: the files that were uploaded

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.id

    @property
    def is_public(self) -> bool:
        """Whether every account may use it."""
        return self.public or not self.account

    @property
    def public_name(self) -> str:
        """The name that other accounts know it by, if it is public."""
        return PUBLIC_PREFIX + self.name.removeprefix(PUBLIC_PREFIX)

    @property
    def is_complete(self) -> bool:
        """Whether all its files are there."""
        return bool(self.adapter) or {each.file for each in self.assets} == set(ADAPTER_FILES)
