-- What was refused at the edge, and what a destination judged undeliverable.

CREATE TABLE IF NOT EXISTS errors (
    tenant LowCardinality(String),
    error_id UUID,
    ts DateTime64(6, 'UTC'),
    source LowCardinality(String),
    error_type LowCardinality(String),
    detail String,
    event_index Nullable(UInt32),
    event_id Nullable(String),
    event_type Nullable(String),
    user_id Nullable(String),
    request_id Nullable(String),
    occurrences UInt64 DEFAULT 1
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, ts, error_id)
TTL toDateTime(ts) + INTERVAL 30 DAY
SETTINGS index_granularity = 1024 @fsync@;

-- `row` is the event as it travelled; where its envelope could not be read at all, the beginning of
-- the envelope in base64. letter_id is a function of the row, so that judging twice writes once.
CREATE TABLE IF NOT EXISTS dead_letters (
    tenant LowCardinality(String),
    destination LowCardinality(String),
    letter_id UUID,
    dead_at DateTime64(6, 'UTC') DEFAULT now64(6),
    reason String,
    error_type LowCardinality(String),
    row String CODEC(ZSTD(1)),
    envelope_id String,
    attempt UInt32
)
ENGINE = ReplacingMergeTree(dead_at)
ORDER BY (tenant, destination, letter_id)
SETTINGS index_granularity = 1024 @fsync@;
