-- What became of each event at each destination that events are forwarded to. The latest `at` counts:
-- a parked event becomes delivered, a dead one too once it was replayed. Written in batches by the
-- worker before it acknowledges; writing the same row again changes nothing.
CREATE TABLE IF NOT EXISTS outcomes (
    tenant LowCardinality(String),
    event_id UUID,
    destination LowCardinality(String),
    outcome LowCardinality(String),
    reason LowCardinality(String),
    detail String CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, event_id, destination)
TTL toDateTime(received_at) + INTERVAL 400 DAY
SETTINGS index_granularity = 4096 @fsync@;
