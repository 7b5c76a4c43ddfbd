-- What was stored in the last seconds is found without reading the rest of the hour: only granules
-- that were written lately are looked at. Parts from before have no index until they are merged.
ALTER TABLE events ADD INDEX IF NOT EXISTS
    by_stored_at stored_at TYPE minmax GRANULARITY 1;
