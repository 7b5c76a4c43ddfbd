-- What the edge accepted, written down beside the events and independent of them, so that it can be
-- compared with what is stored.

-- One row for each envelope, tenant and hour of received_at, a function of the envelope alone but
-- for left_out; written before the envelope is acknowledged, and the same again when it comes again.
-- runs lists the ids that the edge made (UUID version 7): upper half, lower half of the first, how
-- many count up from it; one batch of a client is one run. Of the others (named by clients, version
-- 5) event_keys has the ids; repeats are rows of this envelope that are the same in id, type and
-- time. left_out is how many the worker recognised as copies.
CREATE TABLE IF NOT EXISTS accepted (
    tenant LowCardinality(String),
    hour DateTime('UTC'),
    envelope_id String,
    events UInt32,
    named UInt32,
    repeats UInt32,
    left_out UInt32,
    runs Array(Tuple(UInt64, UInt64, UInt32)) CODEC(ZSTD(1)),
    noted_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(noted_at)
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, envelope_id)
TTL hour + INTERVAL 400 DAY
SETTINGS index_granularity = 256 @fsync@;

-- Events that were accepted and are gone because a person was erased: random ids and times, no person.
-- Who removes an accepted event, from a table or on its way, writes it down here first.
CREATE TABLE IF NOT EXISTS accepted_erased (
    tenant LowCardinality(String),
    event_id UUID,
    received_at DateTime64(6, 'UTC'),
    run_id String
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, toStartOfHour(received_at), event_id, received_at)
TTL toDateTime(received_at) + INTERVAL 400 DAY
SETTINGS index_granularity = 1024 @fsync@;

-- What Amplitude's Export API gave to a reconciliation, of the hours and types that differed: large,
-- and compared here instead of in memory. uid is Amplitude's own name of an event.
CREATE TABLE IF NOT EXISTS amplitude_exports (
    tenant LowCardinality(String),
    run_id String,
    event_type LowCardinality(String),
    event_time DateTime64(6, 'UTC'),
    insert_id String,
    uid String,
    library LowCardinality(String),
    loaded_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, run_id, insert_id, uid)
TTL loaded_at + INTERVAL 2 DAY
SETTINGS index_granularity = 1024 @fsync@;
