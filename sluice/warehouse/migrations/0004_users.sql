-- What context_identified events say of a person. The worker takes the traits apart, because
-- ClickHouse's JSON functions re-write numbers and give up on large ones; here they are text.

-- `latest` orders by effective time, received_at and event_id, and carries the value's JSON text;
-- its maximum is the trait's present value, whatever the order of arrival. is_trait = 0 marks the
-- event itself, so that an empty payload is seen too.
CREATE TABLE IF NOT EXISTS user_traits (
    tenant LowCardinality(String),
    user_id String,
    is_trait UInt8,
    trait String,
    latest SimpleAggregateFunction(
        max, Tuple(DateTime64(9, 'UTC'), DateTime64(6, 'UTC'), String, String)
    ),
    first_at SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
    last_at SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (tenant, user_id, is_trait, trait)
SETTINGS index_granularity = 1024 @fsync@;

CREATE VIEW IF NOT EXISTS users AS
SELECT
    tenant,
    user_id,
    concat('{', arrayStringConcat(arrayMap(
        member -> concat(toJSONString(member.1), ':', member.2),
        arraySort(groupArrayIf((trait, value), is_trait AND value != 'null'))
    ), ','), '}') AS traits,
    min(first_at) AS first_identified_at,
    max(last_at) AS last_identified_at
FROM (
    SELECT
        tenant, user_id, is_trait, trait,
        max(user_traits.latest).4 AS value,
        min(user_traits.first_at) AS first_at,
        max(user_traits.last_at) AS last_at
    FROM user_traits
    GROUP BY tenant, user_id, is_trait, trait
)
GROUP BY tenant, user_id
SETTINGS output_format_json_escape_forward_slashes = 0;
