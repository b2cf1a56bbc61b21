"""Settings of a service that tells a collector of spans, and where they stand in the environment.

OpenTelemetry has variables of its own, which all who speak it know. They are what stands where
our own settings say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from urllib.parse import unquote

from pydantic import AfterValidator

from libs.common.bounds import AtLeastOne, HttpUrl, Seconds

PATH: Final = "/v1/traces"  # below OTLP's address
_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_SHARES: Final = {  # what a sampler does with requests that nobody has decided on
    "always_on": 1.0,
    "parentbased_always_on": 1.0,
    "always_off": 0.0,
    "parentbased_always_off": 0.0,
}
_BY_RATIO: Final = ("traceidratio", "parentbased_traceidratio")


def pairs_in(text: str) -> dict[str, str]:
    """Return `name=value,name=value` as pairs; values may be percent-encoded. ValueError."""
    pairs: dict[str, str] = {}
    for each in text.split(","):
        name, sign, value = each.strip().partition("=")
        if not each.strip():
            continue
        if not sign or not name.strip():
            raise ValueError("expected name=value,name=value")
        pairs[name.strip()] = unquote(value.strip())
    return pairs


def _checked(text: str) -> str:
    pairs_in(text)
    return text


Pairs = Annotated[str, AfterValidator(_checked)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """Where a service sends its spans, and what that may cost."""

    otlp: HttpUrl = field(default="", repr=False)
    """HTTP address of an OpenTelemetry collector, such as `http://127.0.0.1:4318`, that gets
    [spans](tracing.md) of its work; empty: `OTEL_EXPORTER_OTLP_ENDPOINT`, else there are none."""
    otlp_headers: Pairs = field(default="", repr=False)
    """`name=value,name=value`, values percent-encoded where they must be: headers for the
    collector, such as a token."""
    otlp_attributes: Pairs = ""
    """`name=value,name=value`: what all its spans say of the service, such as
    `deployment.environment.name=test`."""
    otlp_timeout_s: Seconds = 10.0
    """For the collector to take what it is sent."""
    otlp_spans: AtLeastOne = 8192
    """Spans that may wait to be sent; those beyond are dropped and
    [counted](tracing.md#when-the-collector-is-away)."""

    @property
    def traces_url(self) -> str:
        """Return where spans are posted."""
        base = self.otlp.rstrip("/")
        return base if base.endswith(PATH) else base + PATH


def standard(env: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return settings by name: the variable of OpenTelemetry's, and what it says."""
    found: dict[str, tuple[str, Any]] = {}

    def take(name: str, *variables: str) -> None:
        for variable in variables:
            if env.get(variable):
                found[name] = variable, env[variable]
                return

    is_off = env.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not is_off and env.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp":
        take("otlp", _PREFIX + "TRACES_ENDPOINT", _PREFIX + "ENDPOINT")
    take("otlp_headers", _PREFIX + "TRACES_HEADERS", _PREFIX + "HEADERS")
    take("otlp_attributes", "OTEL_RESOURCE_ATTRIBUTES")
    take("otlp_timeout_s", _PREFIX + "TRACES_TIMEOUT", _PREFIX + "TIMEOUT")
    if "otlp_timeout_s" in found:
        variable, told = found["otlp_timeout_s"]
        found["otlp_timeout_s"] = variable, _seconds(told)
    sampler = env.get("OTEL_TRACES_SAMPLER", "")
    if sampler in _SHARES:
        found["trace_share"] = "OTEL_TRACES_SAMPLER", _SHARES[sampler]
    elif sampler in _BY_RATIO:
        take("trace_share", "OTEL_TRACES_SAMPLER_ARG")
    return found


def _seconds(milliseconds: str) -> float | str:
    """Return what OpenTelemetry has in milliseconds; what is no number stays, to be refused."""
    try:
        return float(milliseconds) / 1000
    except ValueError:
        return milliseconds
