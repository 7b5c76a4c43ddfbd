-- Workflow runs. Every transition is a row of its run with a higher version; the highest counts.

-- `epoch` counts who had the run, `seq` what they did: what somebody writes who had it before is
-- older than anything of whoever has it now. The row that asked for the run has neither.
-- `program` is what is needed to go on; of the rest the list is made. A run that ended is kept until
-- `expires_at`.
CREATE TABLE IF NOT EXISTS workflow_runs (
    tenant LowCardinality(String),
    run_id String,
    config_id LowCardinality(String),
    type LowCardinality(String),
    name LowCardinality(String),
    workflow_id LowCardinality(String),
    source LowCardinality(String),
    state LowCardinality(String),
    created_at DateTime64(3, 'UTC'),
    ended_at Nullable(DateTime64(3, 'UTC')),
    error_attribution LowCardinality(String),
    error_type LowCardinality(String),
    error_message String CODEC(ZSTD(1)),
    principal_id String,
    principal_name String,
    principal_email String,
    launched_version String,
    run_mode LowCardinality(String),
    range_from Nullable(DateTime64(3, 'UTC')),
    range_to Nullable(DateTime64(3, 'UTC')),
    inputs String CODEC(ZSTD(1)),
    outputs String CODEC(ZSTD(1)),
    request_key String,
    request_digest String,
    due_at Nullable(DateTime64(3, 'UTC')),
    has_retry UInt8,
    program String DEFAULT '' CODEC(ZSTD(1)),
    resume_at Nullable(DateTime64(3, 'UTC')),
    epoch UInt32 DEFAULT 0,
    seq UInt32 DEFAULT 0,
    expires_at DateTime('UTC') DEFAULT toDateTime('2106-01-01 00:00:00', 'UTC'),
    version UInt64 MATERIALIZED bitShiftLeft(toUInt64(epoch), 32) + seq
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, created_at, run_id)
TTL expires_at
SETTINGS index_granularity = 1024 @fsync@;

-- One row for each visit of a step; the highest version counts.
CREATE TABLE IF NOT EXISTS workflow_tasks (
    tenant LowCardinality(String),
    run_id String,
    task_instance_id String,
    position UInt32,
    workflow_id LowCardinality(String),
    step_id LowCardinality(String),
    visit UInt32,
    attempt UInt32,
    state LowCardinality(String),
    execution_type LowCardinality(String),
    created_at DateTime64(3, 'UTC'),
    started_at Nullable(DateTime64(3, 'UTC')),
    ended_at Nullable(DateTime64(3, 'UTC')),
    state_changed_at DateTime64(3, 'UTC'),
    timeout_ms UInt64,
    http_status UInt16,
    error_attribution LowCardinality(String),
    error_type LowCardinality(String),
    error_message String CODEC(ZSTD(1)),
    epoch UInt32,
    seq UInt32,
    expires_at DateTime('UTC') DEFAULT toDateTime('2106-01-01 00:00:00', 'UTC'),
    version UInt64 MATERIALIZED bitShiftLeft(toUInt64(epoch), 32) + seq
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, run_id, task_instance_id)
TTL expires_at
SETTINGS index_granularity = 1024 @fsync@;

-- Who has a run. A worker writes its claim first and looks then: alone in its epoch it has the run,
-- otherwise it yields. Of two that race at least one sees both.
CREATE TABLE IF NOT EXISTS workflow_claims (
    tenant LowCardinality(String),
    run_id String,
    epoch UInt32,
    host_id String,
    is_yielded UInt8,
    claimed_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(is_yielded)
ORDER BY (tenant, run_id, epoch, host_id)
TTL toDateTime(claimed_at) + INTERVAL 60 DAY
SETTINGS index_granularity = 1024 @fsync@;

-- Workers that have runs: one that gave no sign for the length of a lease has them no longer.
CREATE TABLE IF NOT EXISTS workflow_hosts (
    host_id String,
    heartbeat_at DateTime64(6, 'UTC') DEFAULT now64(6),
    is_stopped UInt8 DEFAULT 0
)
ENGINE = ReplacingMergeTree(heartbeat_at)
ORDER BY host_id
TTL toDateTime(heartbeat_at) + INTERVAL 1 DAY
SETTINGS index_granularity = 1024 @fsync@;

-- Runs that somebody asked to stop, whether or not they have begun.
CREATE TABLE IF NOT EXISTS workflow_stops (
    tenant LowCardinality(String),
    run_id String,
    asked_at DateTime64(3, 'UTC'),
    principal_name String
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, run_id)
TTL toDateTime(asked_at) + INTERVAL 60 DAY
SETTINGS index_granularity = 1024 @fsync@;

-- The texts that runs were begun with, so that one goes on as it began when its document changed.
CREATE TABLE IF NOT EXISTS workflow_documents (
    digest String,
    name String,
    text String CODEC(ZSTD(3)),
    used_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(used_at)
ORDER BY (digest, name)
TTL used_at + INTERVAL 60 DAY
SETTINGS index_granularity = 128 @fsync@;

-- Since when a schedule is known: what it missed before that is not made good.
CREATE TABLE IF NOT EXISTS workflow_schedules (
    tenant LowCardinality(String),
    config_id LowCardinality(String),
    schedule String,
    seen_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, config_id, schedule)
SETTINGS index_granularity = 128 @fsync@;
