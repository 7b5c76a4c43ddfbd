-- Which hours were written to, and what was counted in them afterwards.

CREATE TABLE IF NOT EXISTS touched_hours (
    tenant LowCardinality(String),
    hour DateTime('UTC'),
    touched_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(touched_at)
ORDER BY (tenant, hour)
SETTINGS index_granularity = 1024 @fsync@;

-- Recomputed from events, never added to. Each recomputation of an hour writes all its event types
-- and one row with an empty type that marks the hour as computed; only the rows of an hour's latest
-- computed_at count, so that a type that vanished from the hour vanishes here too.
CREATE TABLE IF NOT EXISTS rollups (
    tenant LowCardinality(String),
    hour DateTime('UTC'),
    event_type LowCardinality(String),
    event_count UInt64,
    users AggregateFunction(uniq, String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY (tenant, hour, event_type)
SETTINGS index_granularity = 1024 @fsync@;
