-- What a receipt is looked up by. Measured (docs/performance.md): within the noise of an insert.

-- When the row was written; a redelivery that collapses with it may move it. Rows from before this
-- migration have no value of their own: readers compare received_at with when it was applied.
ALTER TABLE events ADD COLUMN IF NOT EXISTS
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta(8), ZSTD(1));

-- A name that a client gave says nothing of the time, and names are noted for 15 days only. Parts
-- from before have no index until they are merged: there the look-up reads the column.
ALTER TABLE events ADD INDEX IF NOT EXISTS
    by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE dead_letters ADD INDEX IF NOT EXISTS
    by_event_id JSONExtractString(row, 'event_id') TYPE bloom_filter(0.01) GRANULARITY 1;
