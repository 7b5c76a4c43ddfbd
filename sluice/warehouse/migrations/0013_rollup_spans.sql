-- What stats are answered from: one row for each span of time, of any length, with all that is
-- counted in it, so that a reader needs few rows, and an hour of millions is counted again in parts.

-- Spans of an hour, of six and of a day are kept as long as events. Those of 10 and 300 are the parts of
-- hours that hold very many events; one that is missing is counted anew from events. `version` is
-- the microsecond before which everything stored is counted; of a span that is the sum of shorter
-- ones it is the sum of their versions. It only grows when anything in the span is counted anew, and
-- a span is up to date if its version is the sum of those of its parts.
CREATE TABLE IF NOT EXISTS rollup_spans (
    tenant LowCardinality(String),
    span_s UInt32,
    start DateTime('UTC'),
    event_types Array(LowCardinality(String)),
    event_counts Array(UInt64),
    users AggregateFunction(uniq, String),
    computed_at DateTime64(6, 'UTC'),
    version UInt64,
    user_count UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, span_s, start)
TTL toDateTime(computed_at) + INTERVAL 2 DAY DELETE WHERE span_s < 3600
SETTINGS index_granularity = 64 @fsync@;

-- Which ten seconds of the hour were written to, from 1 on; 0 where nobody says.
ALTER TABLE touched_hours ADD COLUMN IF NOT EXISTS slot UInt16,
    MODIFY ORDER BY (tenant, hour, slot);

-- The events of ten seconds are found without reading the rest of their hour.
ALTER TABLE events ADD INDEX IF NOT EXISTS
    by_received_at received_at TYPE minmax GRANULARITY 1;

-- The hours that are counted already. The same again are the same rows.
INSERT INTO rollup_spans (
    tenant, span_s, start, event_types, event_counts, users, computed_at, version, user_count
)
SELECT tenant, 3600, hour, groupArrayIf(event_type, event_type != ''),
    groupArrayIf(event_count, event_type != ''), uniqMergeState(users), max(computed_at) AS at,
    toUInt64(toUnixTimestamp64Micro(at)), uniqMerge(users)
FROM (
    SELECT tenant, hour, event_type, event_count, users, computed_at,
        computed_at = max(computed_at) OVER (PARTITION BY tenant, hour) AS is_latest
    FROM rollups FINAL
)
WHERE is_latest
GROUP BY tenant, hour;
