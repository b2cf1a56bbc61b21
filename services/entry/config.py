"""Entry's settings, and what its parts get of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from libs.common.bounds import (
    Address,
    AtLeastOne,
    AtLeastZero,
    HostPort,
    NotNegative,
    Seconds,
    SecondsOrNone,
    ShareOrNone,
)
from libs.common.hop_settings import HopSettings
from libs.common.hop_tls import check_readable
from libs.common.hops import Transport
from libs.common.otlp_settings import OtlpSettings
from libs.common.rpc import CannotListen
from libs.http1 import Limits, TlsFiles
from services.entry.clients import ClientLimits, Networks
from services.entry.continuing import Bounds
from services.entry.fronts.console import Bounds as ConsoleBounds
from services.entry.fronts.cors import Cors
from services.entry.fronts.finetunes import Bounds as FormBounds
from services.entry.tasks.media import FileLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(OtlpSettings, HopSettings):
    """What stands before the services: HTTP, gRPC, accounts, tasks.

    `tls_cert` and `tls_key` belong together, as do `hop_cert`, `hop_key` and `hop_ca`.
    """

    name: str = "entry"
    """Unique among entries."""
    colo: str = "local"
    """Where it is: its calls' source."""
    http: HostPort = "127.0.0.1:8080"
    """Where it listens for HTTP; empty: nowhere."""
    grpc: Address = "127.0.0.1:8081"
    """Where it listens for gRPC; empty: nowhere."""
    max_body_bytes: AtLeastOne = 10 * 1024 * 1024
    """Largest body, unpacked too; beyond it 413 with 3006, before a byte of it is read where its
    length is told."""
    max_choices: AtLeastOne = 16
    """Calls that one of OpenAI's requests may ask for, by `n`, its prompts or hundreds of texts to
    embed; more are refused with 400."""
    max_image_bytes: AtLeastOne = 8 * 1024 * 1024
    """Largest picture, decoded; beyond it 413 with 3006."""
    max_audio_bytes: AtLeastOne = 10 * 1024 * 1024
    """Largest piece of sound, decoded; beyond it 413 with 3006."""
    max_header_bytes: AtLeastOne = 32 * 1024
    """Largest request line and headers together, of at most 100; beyond it 431."""
    max_connections: AtLeastOne = 20_000
    """Open connections of the HTTP port; beyond it 503, and hung up."""
    connections_per_address: AtLeastZero = 16_000
    """Open connections of the HTTP port from one address, so that no one can have them all; one
    more is refused with 429 and 7010; 0: no bound
    ([clients by address](operating.md#clients-by-address))."""
    requests_per_address: NotNegative = 0.0
    """Requests per second from one address, over HTTP and gRPC, whoever sends them; beyond it 429
    with 7008; 0: no bound."""
    wrong_tokens_per_address: AtLeastZero = 120
    """Requests per minute without a token, or with a wrong one, from one address; beyond it 429
    with 7009, but for tokens that this entry has served before; 0: no bound."""
    addresses: AtLeastOne = 65_536
    """Addresses that are counted, a few hundred bytes each; those heard of longest ago leave first.
    """
    trusted_proxies: Networks = ""
    """Networks of the proxies before entry, such as `10.0.0.0/8`, separated by commas: the client
    is who their `X-Forwarded-For` tells, and their connections are not counted; nobody else's is
    believed."""
    header_s: Seconds = 10.0
    """From the connection, or a request's first byte, to its whole head; then 408."""
    body_s: Seconds = 30.0
    """For a whole body over HTTP to come; then 408 with 3007."""
    idle_s: Seconds = 75.0
    """For the next request on a connection; then it is closed without a word."""
    write_s: Seconds = 60.0
    """How long a client may read nothing of what waits for it; then it is hung up."""
    first_part_ceiling_s: Seconds = 240.0
    """No model's `first_part_s` counts for more."""
    prefix_secret: str = field(default="", repr=False)
    """In the salt of prompts' hashes, by which servers find the endpoint that knows a conversation;
    the same for all entries."""
    continue_times: AtLeastZero = 4
    """How often one stream may break and go on elsewhere; 0: never; where two instances have died
    under it, never again."""
    continue_bytes: AtLeastZero = 256 * 1024
    """Text that is kept of each stream to go on from; a longer one ends as it breaks."""
    continue_burst: AtLeastZero = 256
    """Streams that may go on at once."""
    continue_rate: NotNegative = 16.0
    """How many more streams may go on each second."""
    server_wait_s: SecondsOrNone = 10.0
    """Longest that a call waits for a server to come back where all of the model's are lost or
    leaving, within its own bounds; 0: not at all."""
    upload_idle_s: Seconds = 30.0
    """Longest that nothing may come of a file that is uploaded."""
    upload_s: Seconds = 3600.0
    """For all of an uploaded file to come."""
    replay_s: Seconds = 600.0
    """How long this entry keeps the answer to a POST of a finetune for its [idempotency
    key](api.md#idempotency-keys)."""
    replays: AtLeastOne = 10_000
    """How many such answers are kept, of a few hundred bytes each; the oldest leave first."""
    console: bool = True
    """Whether [`/console`](console.md) is there."""
    console_s: Seconds = 1.0
    """How often consoles are sent what they watch."""
    console_streams: AtLeastOne = 64
    """Consoles that may watch this entry at once; one more is refused with 7006."""
    console_rows: AtLeastOne = 2000
    """Rows that a console is shown of each kind of thing at most: models, loads, instances,
    decisions, accounts."""
    docs: bool = True
    """Whether `/docs` and `/openapi.json` are there; they name the models that every account may
    run."""
    metrics: bool = True
    """Whether `/metrics` is on the HTTP port, where it is for everybody and names every model that
    is called; `--metrics` has them in any case."""
    cors_origins: str = "*"
    """Whose pages may call the API from a browser: origins such as `https://page.example`,
    separated by commas, `*` for all; empty: no other site's ([CORS](api.md#cors))."""
    cors_max_age_s: Seconds = 600.0
    """For how long a browser may keep the answer to what it asks before a call."""
    admin_accounts: str = "0123456789abcdef0123456789abcdef"
    """The operators' accounts, by id, separated by commas: their tokens with the scope `admin` see
    what all accounts do; unless set it is the account `default`, which the first start makes."""
    usage: Address = ""
    """Where analytics answers what was used: host:port, or unix:/path; empty: `usage.sock` in the
    state folder; `up` asks its own."""
    usage_s: Seconds = 30.0
    """For an answer of analytics."""
    trace_share: ShareOrNone = 1.0
    """Part of the requests that is traced where their callers do not say
    ([tracing](tracing.md#which-requests-are-traced))."""
    access_log: str = ""
    """A file that gets a line of JSON for each request, `-` for standard output; empty: none
    ([operating](operating.md#the-access-log))."""
    drain_s: SecondsOrNone = 10.0
    """For calls in flight, on leaving."""
    tls_cert: Path | None = None
    """PEM file with the certificate and those that signed it; with `tls_key` the HTTP port speaks
    HTTPS, and the gRPC port TLS."""
    tls_key: Path | None = None
    """PEM file with the key of `tls_cert`; both are read again when they change."""
    reuse_port: bool = False
    """Other processes may listen on the same ports, and share the connections; `--workers` sets it.
    """
    transport: Transport = "lean"
    """What [hops](operating.md#the-transport) to servers go over."""

    @property
    def limits(self) -> Limits:
        """Return what an HTTP client may cost."""
        return Limits(
            max_header_bytes=self.max_header_bytes,
            max_body_bytes=self.max_body_bytes,
            max_connections=self.max_connections,
            max_per_address=self.connections_per_address,
            header_s=self.header_s,
            body_s=self.body_s,
            idle_s=self.idle_s,
            write_s=self.write_s,
        )

    @property
    def clients(self) -> ClientLimits:
        """Return what one address may do."""
        return ClientLimits(
            requests_per_s=self.requests_per_address,
            wrong_tokens_per_min=self.wrong_tokens_per_address,
            addresses=self.addresses,
            proxies=self.trusted_proxies,
        )

    @property
    def cors(self) -> Cors:
        """Return which pages may call."""
        return Cors(self.cors_origins.split(","), max_age_s=self.cors_max_age_s)

    @property
    def files(self) -> FileLimits:
        """Return how large a picture or sound may be."""
        return FileLimits(image_bytes=self.max_image_bytes, audio_bytes=self.max_audio_bytes)

    @property
    def uploads(self) -> FormBounds:
        """Return how long the routes of finetunes wait for a client."""
        return FormBounds(
            body_s=self.body_s,
            idle_s=self.upload_idle_s,
            upload_s=self.upload_s,
            max_body_bytes=self.max_body_bytes,
            replay_s=self.replay_s,
            replays=self.replays,
        )

    @property
    def consoles(self) -> ConsoleBounds:
        """Return what consoles may cost."""
        return ConsoleBounds(
            every_s=self.console_s,
            write_s=self.write_s,
            streams=self.console_streams,
            rows=self.console_rows,
        )

    @property
    def continuing(self) -> Bounds:
        """Return what going on with broken streams may cost."""
        return Bounds(
            times=self.continue_times,
            keep_bytes=self.continue_bytes,
            burst=self.continue_burst,
            per_s=self.continue_rate,
        )

    @property
    def tls(self) -> TlsFiles | None:
        """Return the certificate for clients; CannotListen for half of one."""
        if self.tls_cert and self.tls_key:
            check_readable(self.tls_cert)
            check_readable(self.tls_key)
            return TlsFiles(cert=self.tls_cert, key=self.tls_key)
        if self.tls_cert or self.tls_key:
            raise CannotListen("tls_cert and tls_key belong together: expected both or none")
        return None

    @property
    def scheme(self) -> str:
        """What the HTTP port speaks."""
        return "https" if self.tls else "http"
