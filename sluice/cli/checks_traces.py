"""What ``sluice doctor`` looks at where traces are to be exported."""

from collections.abc import Mapping
from typing import Final

from sluice.cli.findings import TIMEOUT_S, Finding
from sluice.tracing.variables import tracing_wanted

NAME: Final = "traces"


def check_traces(environment: Mapping[str, str]) -> list[Finding]:
    """Return whether the collector takes spans; nothing where no endpoint is set. Blocks."""
    wanted = tracing_wanted(environment)
    if wanted is None:
        return []
    if isinstance(wanted, str):
        return [Finding(NAME, "warn", f"not exported: {wanted}", "correct or unset it")]
    from sluice.tracing.otlp import takes_spans

    if takes_spans(within_s=TIMEOUT_S):
        share = f"{wanted.ratio:.2%} of the requests without a parent"
        return [Finding(NAME, "ok", f"the collector takes spans; {share} leave some")]
    remedy = "look at its address, OTEL_EXPORTER_OTLP_HEADERS and its certificate"
    return [Finding(NAME, "warn", "the collector does not take spans; they are dropped", remedy)]
