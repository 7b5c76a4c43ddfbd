"""ClickHouse: the client, the queries, the migrations and the embedded server."""
