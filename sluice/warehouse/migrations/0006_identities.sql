-- Who an anonymous visitor turned out to be: events are never rewritten, so what is filed under
-- `anon_<token>` is joined here. `anonymous_user_id` is that user_id; of several users the last
-- one received counts.
--
-- A cart, a checkout and an order of Shopify share their cart token, which is their anonymous_id;
-- the checkout token is looked for in the payload. Other clients name both ids in one event.
--
-- Cost: the tenant's part of four columns of `events`, and of `payload` where the source is
-- Shopify: measured 0.8 s on one core for 500,000 events of Shopify among 2,500,000. Ask with a
-- tenant, which the sorting key answers. Who needs it often keeps its result in a table.
CREATE VIEW IF NOT EXISTS identities AS
SELECT
    tenant,
    token AS anonymous_id,
    concat('anon_', token) AS anonymous_user_id,
    argMax(said.user, (said.at, said.id)) AS user_id,
    min(said.at) AS first_seen_at,
    max(said.at) AS last_seen_at
FROM (
    SELECT
        tenant,
        events.user_id AS user,
        events.received_at AS at,
        events.event_id AS id,
        arrayJoin(arrayDistinct(arrayFilter(one -> one != '', [
            events.anonymous_id,
            if(source = 'shopify', JSONExtractString(payload, 'checkout_token'), '')
        ]))) AS token
    FROM events
    WHERE (source = 'shopify' OR events.anonymous_id != '') AND NOT startsWith(events.user_id, 'anon_')
) AS said
GROUP BY tenant, token;
