"""What the engine is started with: small pools and caches, a memory bound, no way out of the house.

The engine runs every statement as its one user ``default``. That user may do anything to tables and
nothing to files, URLs or other servers (no ``SOURCES`` grant), so no statement reads or writes
outside the warehouse through a table function or engine. Both files are written at each start.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

MIB: Final = 1024 * 1024

GRANTS: Final[tuple[str, ...]] = (
    "GRANT SHOW, SELECT, INSERT, ALTER, DROP, TRUNCATE, OPTIMIZE, BACKUP, CHECK ON *.*",
    "GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE ON *.*",
    "GRANT KILL QUERY, SYSTEM MERGES, SYSTEM DROP CACHE, SYSTEM FLUSH ON *.*",
    "GRANT READ, WRITE ON DISK",  # for BACKUP and RESTORE
    "GRANT TABLE ENGINE ON *",
)

READONLY_SETTINGS: Final = (
    "format_template_row",
    "format_template_row_format",
    "format_template_resultset",
    "format_template_resultset_format",
    "format_schema",
    "format_schema_source",
    "output_format_schema",
    "format_avro_schema_registry_url",
    "send_logs_level",
)
"""Settings that nobody may change: they make the engine read or write files, or call out."""

BACKUPS: Final = "backups"
"""The folder, within the warehouse's own, of ``BACKUP … TO Disk('backups', 'name')``; the lock of
the sandbox lets the engine write nowhere else."""

# Merges give way to inserts and reads: what is fresh is urgent, what is tidy can wait. They still
# get a tenth of a busy core, and inserts slow down by themselves long before parts pile up.
# Without <console> the engine writes its log, down to <Trace>, wherever stderr is a terminal.
SERVER_XML: Final = """\
<clickhouse>
  <logger><level>none</level><console>false</console></logger>
  <users_config>{users}</users_config>
  <storage_configuration>
    <disks><backups><type>local</type><path>{backups}/</path></backups></disks>
  </storage_configuration>
  <backups><allowed_disk>backups</allowed_disk></backups>
  <max_server_memory_usage>{server_bytes}</max_server_memory_usage>
  <mark_cache_size>33554432</mark_cache_size>
  <index_mark_cache_size>8388608</index_mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <index_uncompressed_cache_size>0</index_uncompressed_cache_size>
  <query_condition_cache_size>16777216</query_condition_cache_size>
  <primary_index_cache_size>33554432</primary_index_cache_size>
  <mmap_cache_size>64</mmap_cache_size>
  <compiled_expression_cache_size>16777216</compiled_expression_cache_size>
  <max_thread_pool_size>256</max_thread_pool_size>
  <max_thread_pool_free_size>16</max_thread_pool_free_size>
  <os_threads_nice_value_merge_mutate>10</os_threads_nice_value_merge_mutate>
  <background_pool_size>2</background_pool_size>
  <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <background_common_pool_size>2</background_common_pool_size>
  <background_move_pool_size>1</background_move_pool_size>
  <background_fetches_pool_size>1</background_fetches_pool_size>
  <merge_tree>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
"""

USERS_XML: Final = """\
<clickhouse>
  <profiles>
    <default>
      <max_threads>{threads}</max_threads>
      <max_insert_threads>1</max_insert_threads>
      <max_memory_usage>{statement_bytes}</max_memory_usage>
      <max_bytes_before_external_group_by>{spill_bytes}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{spill_bytes}</max_bytes_before_external_sort>
      <allow_introspection_functions>0</allow_introspection_functions>
      <constraints>
        <max_memory_usage><max>{statement_bytes}</max></max_memory_usage>
        <max_threads><max>{threads}</max></max_threads>
        {readonly}
      </constraints>
    </default>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>{grants}</grants>
    </default>
  </users>
</clickhouse>
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of the machine the engine may take."""

    server_bytes: int
    """Bound on the whole process, the 270 MB of the library's own pages included."""
    statement_bytes: int
    """Bound on one statement."""
    threads: int
    """Threads that one statement may run on."""


def budget_of_machine() -> Budget:
    """Return a quarter of the memory, at least 1 and at most 4 GiB, and at most 8 cores."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    server = max(1024 * MIB, min(4096 * MIB, physical // 4))
    return Budget(server, server // 2, max(1, min(8, os.cpu_count() or 1)))


def write_config(folder: Path, budget: Budget) -> Path:
    """Write both files and return the path of the one that the engine is pointed at."""
    users = folder / "users.xml"
    server = folder / "server.xml"
    grants = "".join(f"<query>{grant}</query>" for grant in GRANTS)
    users.write_text(
        USERS_XML.format(
            threads=budget.threads,
            statement_bytes=budget.statement_bytes,
            spill_bytes=budget.statement_bytes // 2,
            grants=grants,
            readonly="".join(f"<{name}><readonly/></{name}>" for name in READONLY_SETTINGS),
        )
    )
    server.write_text(
        SERVER_XML.format(
            users=escape(str(users)),
            backups=escape(str(folder / BACKUPS)),
            server_bytes=budget.server_bytes,
        )
    )
    return server
