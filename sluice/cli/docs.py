"""``python -m sluice.cli.docs``: writes the pages that are made from code; ``--check`` compares.

Settings, error types and metrics are declared once, in code; what people read of them cannot get
old, because ``make check`` fails when it does.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, Final

from gateway.sources.shopify_privacy import PRIVACY_TOPICS
from gateway.sources.shopify_topics import TOPICS, TRIGGERED
from sluice import telemetry
from sluice.cli.docs_api import api_page, table_lines
from sluice.cli.docs_cost import cost_tables
from sluice.core.amplitude_properties import AMPLITUDE
from sluice.core.errors import ERRORS
from sluice.core.property import Property
from sluice.core.property_values import accepted_by
from sluice.core.tenant_file import PROPERTIES
from sluice.core.workflow_settings import PROPERTIES as WORKFLOW
from sluice.environment import SecretText, Setting
from sluice.queue.pubsub_commands import gcloud, terraform
from sluice.queue.pubsub_plan import Plan, plan_of, short
from sluice.queue.pubsub_wire import Names
from sluice.settings import SETTINGS

MARKS: Final = "<!-- {name}:begin -->", "<!-- {name}:end -->"
SHOWN_KEEP_DAYS: Final = 7
"""What docs/pubsub.md and k8s/overlays/gke have as SLUICE_PUBSUB_KEEP_DAYS."""
MADE: Final = "<!-- Made by `make docs` from {source}; edit that. -->"


def main(words: list[str] | None = None) -> int:
    """Write the pages, or check them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sluice.cli.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which pages are old")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    options = parser.parse_args(words)
    stale = [
        (path, text)
        for path, text in pages(options.root)
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if options.check:
            print(f"{path.relative_to(options.root)} is old: `make docs` writes it anew.")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(options.root)}")
    return 1 if stale and options.check else 0


def pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each generated page with its text; the README with its table put in."""
    docs = root / "docs"
    table = settings_table()
    yield docs / "settings.md", _page("Settings", "sluice/settings.py", _SETTINGS_WORDS, table)
    yield docs / "errors.md", _page("Error types", "sluice/core/errors.py", _WORDS, errors_table())
    yield (
        docs / "metrics.md",
        _page("Metrics", "sluice/telemetry.py", _METRICS_WORDS, metrics_table() + _SCRAPING),
    )
    yield docs / "api.md", _page("API", "gateway/openapi.py", api_page())
    readme = root / "README.md"
    if readme.exists():
        yield readme, put_between(readme.read_text(encoding="utf-8"), table)
    shopify = docs / "shopify.md"
    if shopify.exists():
        yield (
            shopify,
            put_between(shopify.read_text(encoding="utf-8"), topics_table(), "topics"),
        )
    amplitude = docs / "amplitude.md"
    if amplitude.exists():
        text = amplitude.read_text(encoding="utf-8")
        yield amplitude, put_between(text, properties_table(AMPLITUDE.values()), "amplitude")
    tenants = docs / "tenants.md"
    if tenants.exists():
        own = [one for one in PROPERTIES.values() if one not in AMPLITUDE.values()]
        text = tenants.read_text(encoding="utf-8")
        yield tenants, put_between(text, properties_table(own), "tenants")
    workflows = docs / "workflows.md"
    if workflows.exists():
        text = workflows.read_text(encoding="utf-8")
        yield workflows, put_between(text, properties_table(WORKFLOW.values()), "workflows")
    pubsub = docs / "pubsub.md"
    if pubsub.exists():
        yield pubsub, _pubsub_page(pubsub.read_text(encoding="utf-8"))
    cost = docs / "cost.md"
    if cost.exists():
        text = cost.read_text(encoding="utf-8")
        for name, part in cost_tables().items():
            text = put_between(text, part, name)
        yield cost, text
    yield from _monitoring(root)


def _monitoring(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield what the Prometheus operator and Grafana's sidecar read, with its text.

    They are copies, because kustomize reads no file that is not below its own folder.
    """
    folder = root / "k8s/components/monitoring"
    rules, dashboard = root / "ops/prometheus/rules.yaml", root / "ops/grafana/sluice.json"
    if rules.exists():
        indented = indent(rules.read_text(encoding="utf-8"), "  ")
        yield folder / "rules.yaml", _PROMETHEUS_RULE + indented
    if dashboard.exists():
        yield folder / "sluice.json", dashboard.read_text(encoding="utf-8")


_PROMETHEUS_RULE: Final = """\
# Made by `make docs` from ops/prometheus/rules.yaml; edit that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sluice
spec:
"""


_SETTINGS_WORDS: Final = (
    "Every setting is an environment variable. A wrong value stops the start with one line that"
    " names it; an empty one counts as unset."
)
_WORDS: Final = (
    "Every refusal carries `X-Error-Type`; a skipped event of a batch has it in `errors`. Once"
    " released, a name never changes. *Recorded*: it leaves an error record that"
    " `GET /api/ingestion/errors` shows, where the tenant is known. The others leave none."
)
_METRICS_WORDS: Final = (
    "At `/metrics` of the gateway and of the worker's own port, in the Prometheus text format,"
    " beside the usual `process_*` and `python_info`. Both list every metric; the column *filled"
    " by* says which of them has values. What a process has nothing to say of has no value there,"
    " not 0: a gauge until it is first set, a counter or histogram with labels until the first"
    " event of its kind. The embedded warehouse has no `/metrics`; ask it over SQL.\n\n"
    "All counters are of one process and begin at 0 when it starts, so take `rate` or `increase`"
    " first, then the sum. Labels are bounded: the tenant to the first 200 that a process sees,"
    " then `other`; the others have a few values each. A redelivered batch counts again in"
    " `sluice_warehouse_inserted_rows_total`, so the exact totals are those of"
    " `GET /api/ingestion/stats`."
)
_SCRAPING: Final = """
## Scraping

One job for the gateways, one for the workers:

```yaml
scrape_configs:
  - job_name: sluice-gateway
    static_configs:
      - targets: ["127.0.0.1:8080"]   # SLUICE_HOST and SLUICE_PORT of each gateway
  - job_name: sluice-worker
    static_configs:
      - targets: ["127.0.0.1:8082"]   # SLUICE_WORKER_PORT of each worker
```

Several processes of one `sluice gateway --processes N` share one port and are one target.
Whichever process takes the scrape asks the others and answers for all: every series has the label
`process`, from `0` to `N-1`. A process that does not answer within 3 seconds is left out, and
`sluice_process_left_out_total` rises; its series end, so a missing `process` in
`sluice_build_info` tells which. A single process has no such label. Gauges of what all processes
share (bytes stored, ages and backlogs of queue and spool) are the same in each: take `max without
(process)`, not the sum.

A process that hangs goes on being given connections, so scrapes that reach it fail. After 30
seconds without a sign of life it is killed and started again, with a line in the log and a new
`process_start_time_seconds`.

`/metrics` asks for no credential. It names tenants by their slugs and holds nothing of events;
keep it, as `/readyz`, from the public by your ingress."""


def put_between(text: str, table: str, name: str = "settings") -> str:
    """Return the text with what stands between two marks replaced; as it is without them."""
    before_it, behind_it = (mark.format(name=name) for mark in MARKS)
    before, begin, rest = text.partition(before_it)
    _, end, after = rest.partition(behind_it)
    if not (begin and end):
        return text
    return f"{before}{begin}\n{table}\n{end}{after}"


def _pubsub_page(text: str) -> str:
    plan = plan_of(Names("PROJECT"), keep_days=SHOWN_KEEP_DAYS)
    parts = {
        "pubsub-parts": parts_table(plan),
        "pubsub-roles": roles_table(plan),
        "pubsub-gcloud": f"```sh\n{gcloud(plan)}\n```",
        "pubsub-terraform": f"```hcl\n{terraform(plan)}\n```",
    }
    for name, part in parts.items():
        text = put_between(text, part, name)
    return text


def parts_table(plan: Plan) -> str:
    """Return the table of all topics and subscriptions on Pub/Sub."""
    rows = [("topic", f"`{short(topic.name)}`", "", topic.words) for topic in plan.topics]
    rows += [
        ("subscription", f"`{short(one.name)}`", f"`{short(one.topic)}`", one.words)
        for one in plan.subscriptions
    ]
    return _table(("what", "name", "of topic", "set to"), rows)


def roles_table(plan: Plan) -> str:
    """Return the table of the least roles on Pub/Sub."""
    rows = [
        (one.process, f"`{one.role}`", f"{one.kind} `{short(one.resource)}`", one.why)
        for one in plan.grants
    ]
    return _table(("process", "role", "on", "so that it"), rows)


def topics_table() -> str:
    """Return the table of Shopify's topics."""
    rows = [
        (
            f"`{row.name}`",
            f"`{row.event_type}`",
            ", ".join(row.users),
            ", else ".join(_time_of(path) for path in row.at.split("|")),
            ", ".join(f"`{field.name}`" for field in row.fields if field.name)
            or ("what is not nested" if row.fields else ""),
            "" if row.is_kept else "off",
        )
        for row in TOPICS.values()
    ]
    rows += [
        (f"`{topic}`", f"run `{row.config_id}`", "", "", "", "")
        for topic, row in PRIVACY_TOPICS.items()
    ]
    return _table(("topic", "event_type", "user", "occurred_at", "payload", "default"), rows)


def _time_of(path: str) -> str:
    return "Triggered-At" if path == TRIGGERED else f"`{path}`"


def properties_table(properties: Iterable[Property]) -> str:
    """Return the table of properties of a tenant."""
    rows = [
        (f"`{one.name}`", _as_typed(one.default), accepted_by(one).replace("*", r"\*"), one.meaning)
        for one in properties
    ]
    return _table(("property", "default", "takes", "meaning"), rows)


def _as_typed(value: object) -> str:
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: ""}[value]
    return f"`{text}`" if text else ""


def settings_table() -> str:
    """Return the table of all settings."""
    rows = [
        (f"`SLUICE_{name.upper()}`", _default(one), _accepted(one), one.description)
        for name, one in SETTINGS.items()
    ]
    return _table(("variable", "default", "accepts", "meaning"), rows)


def errors_table() -> str:
    """Return the table of all error types."""
    rows = [
        (
            f"`{error_type}`",
            str(spec.status or ""),
            spec.stage,
            spec.actor,
            "yes" if spec.is_recorded else "",
            spec.meaning,
            spec.remedy,
        )
        for error_type, spec in ERRORS.items()
    ]
    titles = ("error_type", "status", "stage", "who acts", "recorded", "meaning", "remedy")
    return _table(titles, rows)


def metrics_table() -> str:
    """Return the table of all metrics, as they are declared."""
    rows = []
    for metric in vars(telemetry).values():
        if not hasattr(metric, "collect") or isinstance(metric, type) or metric is _REGISTRY:
            continue
        for family in metric.collect():
            suffix = "_total" if family.type == "counter" else ""
            labels = ", ".join(f"`{label}`" for label in _labels(metric))
            filled_by = ", ".join(telemetry.processes_of(family.name))
            name = f"`{family.name}{suffix}`"
            rows.append((name, family.type, labels, filled_by, family.documentation))
    return _table(("metric", "type", "labels", "filled by", "meaning"), rows)


_REGISTRY: Final = telemetry.REGISTRY


def _labels(metric: object) -> tuple[str, ...]:
    # Neither the client library nor ours has a public name for them.
    values = vars(metric)
    found: tuple[str, ...] = values.get("_labelnames") or values.get("_labels") or ()
    return found


def _default(setting: Setting) -> str:
    value: Any = setting.default
    if isinstance(value, SecretText):
        value = value.get_secret_value()
    return f"`{value}`" if value not in {None, ""} else ""


def _accepted(setting: Setting) -> str:
    if not setting.is_number:
        return ""
    words = ["whole number" if isinstance(setting.default, int) else "number"]
    bounds = (("from", setting.at_least), ("above", setting.above), ("to", setting.at_most))
    words += [f"{word} {bound:,}" for word, bound in bounds if bound is not None]
    return " ".join(words)


def _page(title: str, source: str, *parts: str) -> str:
    return "\n\n".join([MADE.format(source=source), f"# {title}", *parts]) + "\n"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(table_lines(titles, rows))


if __name__ == "__main__":
    sys.exit(main())
