-- Who was erased, so that what is still on its way of a person is left out (worker/erasures.py).

-- `digest` is the SHA-256 of tenant, `what` and value with a zero byte between them, in hex: nobody
-- is named here. What was received before `cut_off` is not stored and not sent any more. Kept for
-- longer than any queue, spool or lot holds an event.
CREATE TABLE IF NOT EXISTS erasures (
    tenant LowCardinality(String),
    run_id String,
    what LowCardinality(String),
    digest String,
    cut_off DateTime64(6, 'UTC'),
    noted_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(noted_at)
ORDER BY (tenant, run_id, what, digest)
TTL toDateTime(noted_at) + INTERVAL 400 DAY
SETTINGS index_granularity = 1024 @fsync@;

-- The events that a run erases, by which rows of other tables are found that name no person; gone
-- when the run ends.
CREATE TABLE IF NOT EXISTS erasure_targets (
    tenant LowCardinality(String),
    run_id String,
    event_id UUID,
    received_at DateTime64(6, 'UTC'),
    noted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, run_id, event_id, received_at)
TTL noted_at + INTERVAL 60 DAY
SETTINGS index_granularity = 8192 @fsync@;

-- Privacy requests of shops that waited in `runs` become workflow runs with an id of the same
-- request, so that doing this twice makes one run. Requests of a whole shop were stored without a
-- look at the form of what was signed: they are carried over as unproven, and such a run asks.
INSERT INTO workflow_runs (
    tenant, run_id, config_id, type, name, workflow_id, source, state, created_at, inputs,
    request_key, due_at
)
SELECT
    tenant,
    concat('wf-', formatDateTime(requested_at, '%Y%m%d', 'UTC'), '-',
        leftPad(toString(toUnixTimestamp(requested_at) % 86400), 5, '0'), '-',
        substring(replaceAll(toString(run_id), '-', ''), 1, 6)),
    if(type = 'export_user', 'og-data-request', 'og-erase'),
    if(type = 'export_user', 'data-request', 'erase'),
    if(type = 'export_user', 'Collect what is held of a person', 'Erase people'),
    if(type = 'export_user', 'data-request', 'erase'),
    'shopify',
    'scheduled',
    toDateTime64(requested_at, 3, 'UTC'),
    concat('{"shopify":{"request":"',
        multiIf(type = 'export_user', 'customers/data_request',
            type = 'erase_shop', 'shop/redact', 'customers/redact'),
        '"', if(type = 'erase_shop', ',"unproven":true', ''),
        if(input = '{}', '', ','), substring(input, 2), '}'),
    lower(hex(SHA256(concat(tenant, '\0', toString(run_id))))),
    toDateTime64(due_at, 3, 'UTC')
FROM runs FINAL
WHERE state != 'done';

-- What they hold of people is in the runs now, which forget it when they end.
ALTER TABLE runs MODIFY TTL toDateTime(requested_at) + INTERVAL 60 DAY;
