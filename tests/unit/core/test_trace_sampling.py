"""Which requests leave spans, by OpenTelemetry's variables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from sluice.core.trace_context import TraceContext
from sluice.core.trace_sampling import DEFAULT_RATIO, Sampling, sampling_of

trace_ids = st.integers(1, 2**128 - 1)


def parent(*, is_sampled: bool, trace_id: int = 1) -> TraceContext:
    return TraceContext(trace_id=f"{trace_id:032x}", span_id="b" * 16, is_sampled=is_sampled)


@given(trace_id=trace_ids, is_sampled=st.booleans(), ratio=st.floats(0, 1))
def test_parent_decides_when_sampling_follows_it(
    trace_id: int, ratio: float, *, is_sampled: bool
) -> None:
    assert Sampling(ratio=ratio).takes(parent(is_sampled=is_sampled), trace_id) is is_sampled


@given(trace_ids, st.floats(0, 1))
def test_ratio_decides_as_opentelemetrys_own_sampler_does(trace_id: int, ratio: float) -> None:
    decision = TraceIdRatioBased(ratio).should_sample(None, trace_id, "").decision
    theirs = decision is Decision.RECORD_AND_SAMPLE
    assert Sampling(ratio=ratio).takes(None, trace_id) is theirs
    always = Sampling(ratio=ratio, follows_parent=False)
    assert always.takes(parent(is_sampled=True, trace_id=trace_id), 0) is theirs


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("", "", Sampling(ratio=DEFAULT_RATIO)),
        ("", "0.5", Sampling(ratio=0.5)),
        ("always_on", "", Sampling(ratio=1.0, follows_parent=False)),
        ("always_off", "", Sampling(ratio=0.0, follows_parent=False)),
        ("traceidratio", "0.25", Sampling(ratio=0.25, follows_parent=False)),
        ("traceidratio", "", Sampling(ratio=1.0, follows_parent=False)),
        ("parentbased_always_on", "0.5", Sampling(ratio=1.0)),
        ("parentbased_always_off", "", Sampling(ratio=0.0)),
        (" ParentBased_TraceIdRatio ", "0.1", Sampling(ratio=0.1)),
    ],
)
def test_sampler_is_the_one_that_its_name_says(
    name: str, argument: str, expected: Sampling
) -> None:
    assert sampling_of(name, argument) == expected


@pytest.mark.parametrize(
    ("name", "argument"),
    [("jaeger_remote", ""), ("", "1.5"), ("", "-0.1"), ("traceidratio", "much"), ("", "nan")],
)
def test_wrong_sampler_is_said_in_one_sentence(name: str, argument: str) -> None:
    problem = sampling_of(name, argument)
    assert isinstance(problem, str)
    assert problem.startswith("OTEL_TRACES_SAMPLER")
