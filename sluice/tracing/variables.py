"""OpenTelemetry's own environment variables, as far as Sluice itself must know them.

The SDK reads the others where it is used: time-outs, compression, certificates, headers, the sizes
of queue and batches. A variable that cannot be followed switches tracing off and says so in the
log: events are more important than their traces, and the variables are often set for a whole
cluster.
"""

from collections.abc import Mapping
from typing import Final

from sluice.core.trace_sampling import Sampling, sampling_of

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OUR_PROTOCOL: Final = "http/protobuf"
NUMBERS: Final = (
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
)


def tracing_wanted(environment: Mapping[str, str]) -> Sampling | str | None:
    """Return how to sample; one sentence why tracing stays off; None where nobody asks for it."""
    endpoint = _first(environment, ENDPOINTS)
    if not endpoint or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter == "none":
        return None
    if exporter != "otlp":
        return f"OTEL_TRACES_EXPORTER is {exporter!r}: use otlp or none."
    if not endpoint.startswith(("http://", "https://")):
        # Its text is not repeated: an address may hold a token.
        return f"{' or '.join(ENDPOINTS)} is no http(s) address."
    protocol = _first(environment, PROTOCOLS) or OUR_PROTOCOL
    if protocol != OUR_PROTOCOL:
        return f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}: Sluice speaks {OUR_PROTOCOL}."
    return _wrong_number(environment) or sampling_of(
        environment.get("OTEL_TRACES_SAMPLER", ""), environment.get("OTEL_TRACES_SAMPLER_ARG", "")
    )


def _wrong_number(environment: Mapping[str, str]) -> str | None:
    for name in NUMBERS:
        text = environment.get(name, "").strip()
        if text and not (text.isascii() and text.isdigit() and int(text)):
            return f"{name} is {text!r}: use a whole number from 1 up."
    return None


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name, "").strip())), "")
