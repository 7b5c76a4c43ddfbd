-- Events, the keys of those that a client named, and what is known of later copies.
-- @fsync@ becomes the settings that make an insert survive a power cut, where the warehouse is ours.

-- The sorting key is a function of the event as accepted, so that redelivery collapses; the version
-- lets the earliest received_at win among copies of the same hour and type.
CREATE TABLE IF NOT EXISTS events (
    tenant LowCardinality(String),
    event_id UUID,
    user_id String,
    anonymous_id String,
    event_type LowCardinality(String),
    occurred_at DateTime64(9, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    source LowCardinality(String),
    payload String CODEC(ZSTD(1)),
    version UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(received_at)))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, toStartOfHour(received_at), event_type, event_id)
SETTINGS index_granularity = 8192 @fsync@;

-- One row for each accepted copy of an event that a client named (UUID version 5). Kept for twice
-- the window, counted from when it was noted: a queue may have held an event for days.
CREATE TABLE IF NOT EXISTS event_keys (
    tenant LowCardinality(String),
    event_id UUID,
    received_at DateTime64(6, 'UTC'),
    event_type LowCardinality(String),
    noted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(received_at)
ORDER BY (tenant, event_id, received_at, event_type)
TTL noted_at + INTERVAL 15 DAY
SETTINGS index_granularity = 1024 @fsync@;

-- Copies that are later than the first accepted one and may have been inserted, each named exactly.
-- Being later is for ever (keys are only added), so that a row here is never wrong afterwards.
CREATE TABLE IF NOT EXISTS event_duplicates (
    tenant LowCardinality(String),
    hour DateTime('UTC'),
    event_type LowCardinality(String),
    event_id UUID,
    received_at DateTime64(6, 'UTC'),
    detected_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(detected_at)
ORDER BY (tenant, hour, event_type, event_id, received_at)
SETTINGS index_granularity = 1024 @fsync@;

-- Workers that write keys: while there are two, neither trusts its own memory of keys.
CREATE TABLE IF NOT EXISTS workers (
    worker_id String,
    heartbeat_at DateTime64(6, 'UTC') DEFAULT now64(6),
    is_stopped UInt8 DEFAULT 0
)
ENGINE = ReplacingMergeTree(heartbeat_at)
ORDER BY worker_id
TTL toDateTime(heartbeat_at) + INTERVAL 1 DAY
SETTINGS index_granularity = 1024 @fsync@;
