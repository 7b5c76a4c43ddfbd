-- Work that somebody asked for and that is not to be lost: today the privacy requests of shops.

-- A run's first row is `pending`; each later state is one more row with a higher revision (at most
-- 4095), and the highest counts. Of rows of one revision the earliest counts, so that a request
-- that is sent again moves no deadline. `input` may hold what identifies the person.
CREATE TABLE IF NOT EXISTS runs (
    tenant LowCardinality(String),
    run_id UUID,
    type LowCardinality(String),
    state LowCardinality(String),
    requested_at DateTime64(6, 'UTC'),
    due_at DateTime64(6, 'UTC'),
    source LowCardinality(String),
    input String CODEC(ZSTD(1)),
    revision UInt16 DEFAULT 0,
    version UInt64 MATERIALIZED bitShiftLeft(toUInt64(revision), 52)
        + (4503599627370495 - toUInt64(toUnixTimestamp64Micro(requested_at)))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, run_id)
SETTINGS index_granularity = 1024 @fsync@;
