"""When traces are exported, by OpenTelemetry's variables."""

import pytest

from sluice.core.trace_sampling import Sampling
from sluice.tracing.variables import tracing_wanted

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "sluice", "OTEL_TRACES_SAMPLER": "nonsense"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nobody_asks_for_traces_without_an_endpoint_or_when_they_are_off(
    environment: dict[str, str],
) -> None:
    assert tracing_wanted(environment) is None


@pytest.mark.parametrize(
    "environment",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"},
        ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_SDK_DISABLED": "false"},
        ENDPOINT
        | {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
    ],
)
def test_traces_are_wanted_when_an_endpoint_is_set(environment: dict[str, str]) -> None:
    assert isinstance(tracing_wanted(environment), Sampling)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317/?token=hush"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ],
)
def test_variable_that_cannot_be_followed_is_named_and_no_secret_of_it(
    variable: str, value: str
) -> None:
    problem = tracing_wanted(ENDPOINT | {variable: value})
    assert isinstance(problem, str)
    assert variable.replace("_TRACES_PROTOCOL", "_PROTOCOL") in problem
    assert "hush" not in problem
