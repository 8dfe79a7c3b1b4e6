"""Every statement of a PostgreSQL ledger, in one place, so that a test can judge them all (`STATEMENTS`).

Rules of this file (a test holds them)
  - A statement of a turn names its partition by a parameter: one shard has all that it touches.
  - What is looked up under several keys is looked up by `CROSS JOIN LATERAL (… LIMIT 1)`: a plan that was made while a
    table was small, and is kept, must not read a whole partition when it has grown.
  - What is added under a partition comes `FROM partition_heads` (`postgres_schema`, `keep_group`): so it goes straight
    to the partition's shard. Without the head's row nothing would be added, silently: all counts are checked.
  - The long columns, those of records, are sent as texts of arrays (`{1,2}`) and cast: asyncpg looks at each element
    of a list as Python, which costs more than all the rest that this process does for a group.
  - No statement both locks a head and reads what it guards: it would see the state of before it waited. The lock comes
    first, alone, and the look is a statement of its own.
"""

from typing import Final

LOCK_CLASS: Final = 0x4D545248
"""The first half of the advisory lock by which turns (shared) and changes of the catalog (alone) have one order."""
MIGRATION_CLASS: Final = 0x4D545249
"""The same of the migrator's."""

_SHARED: Final = f"SELECT pg_advisory_xact_lock_shared({LOCK_CLASS}, hashtext(current_schema()))"
ALONE: Final = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext(current_schema()))"
"""Waits until no turn is under way, and lets none begin until the transaction ends. Those who wait stand in line."""


def begin_and_lock(partition: int) -> str:
    """A turn's first round trip: first the order with changes, then the partition. Nobody takes them the other way."""
    lock = f"SELECT h.last_position FROM partition_heads h WHERE h.partition = {partition:d} FOR UPDATE"  # noqa: S608 - a number
    return f"BEGIN; {_SHARED}; {lock}"


NUMBER: Final = """
SELECT c.revision, p.partition FROM catalog c LEFT JOIN partitions p ON p.region = $1 AND p.product = $2
WHERE c.id = 1"""
"""A partition's number, None where nothing was ever kept there, and the revision of the same moment."""

ADD_PARTITION: Final = """
INSERT INTO partitions (partition, region, product)
SELECT coalesce(max(p.partition), 0) + 1, $1, $2 FROM partitions p ON CONFLICT DO NOTHING"""
ADD_HEAD: Final = "INSERT INTO partition_heads (partition) VALUES ($1) ON CONFLICT DO NOTHING"

FIND_SERIES: Final = """
SELECT h.generation, h.last_series, s.place, s.series FROM partition_heads h
LEFT JOIN LATERAL (
  SELECT k.place, one.series
  FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS k(place, license, customer, dimension, workload, token)
  CROSS JOIN LATERAL (
    SELECT r.series FROM series r WHERE r.partition = $1 AND r.customer = k.customer AND r.dimension = k.dimension
    AND r.license = k.license AND r.workload = k.workload AND r.token = k.token LIMIT 1
  ) one
) s ON true
WHERE h.partition = $1"""

_HEAD: Final = "h.version, h.generation, h.last_position, h.records, h.last_series, h.forms, c.revision"
_FIND_RECORDS: Final = """
  SELECT u.hour, u.series, u.quantity_micros, u.record_id
  FROM unnest($2::text::int[], $3::text::bigint[]) AS k(hour, series)
  CROSS JOIN LATERAL (
    SELECT r.hour, r.series, r.quantity_micros, r.record_id FROM usage_records r
    WHERE r.partition = $1 AND r.hour = k.hour AND r.series = k.series LIMIT 1
  ) u"""
FIND: Final = f"""
SELECT {_HEAD}, f.hour, f.series, f.quantity_micros, f.record_id
FROM partition_heads h CROSS JOIN catalog c LEFT JOIN LATERAL ({_FIND_RECORDS}
) f ON true
WHERE h.partition = $1 AND c.id = 1"""  # noqa: S608 - made of our own texts
"""A head, the catalog's revision and what is kept under some keys, all as it was at one moment."""
FIND_WITH_CLAIMS: Final = f"""
SELECT {_HEAD}, f.hour, f.series, f.quantity_micros, f.record_id, f.kind, f.key
FROM partition_heads h CROSS JOIN catalog c LEFT JOIN LATERAL (
  SELECT r.hour, r.series, r.quantity_micros, r.record_id, NULL::text AS kind, NULL::text AS key
  FROM ({_FIND_RECORDS}) r
  UNION ALL
  SELECT 0, 0, 0, m.value, m.kind, m.key FROM unnest($4::text[], $5::text[]) AS w(kind, key)
  CROSS JOIN LATERAL (
    SELECT l.kind, l.key, l.value FROM claims l WHERE l.partition = $1 AND l.kind = w.kind AND l.key = w.key LIMIT 1
  ) m
) f ON true
WHERE h.partition = $1 AND c.id = 1"""  # noqa: S608 - made of our own texts
"""The same, with claims: their values stand where a record's id would."""

KEEP: Final = f"SELECT keep_group({', '.join(f'${place}' for place in range(1, 26))})"
"""All that a group keeps, where nothing moved since it was read: `kept`, else `moved` (the head) or `stale`."""

# The catalog and its documents

MOVE_REVISION: Final = "UPDATE catalog SET revision = revision + 1 WHERE id = 1 AND revision = $1"
PUT_DOCUMENTS: Final = """
INSERT INTO documents (kind, key, body, revision)
SELECT d.kind, d.key, d.body, $4 FROM unnest($1::text[], $2::text[], $3::bytea[]) AS d(kind, key, body)
ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body, revision = excluded.revision"""
REVISION: Final = "SELECT c.revision FROM catalog c WHERE c.id = 1"
LOAD: Final = """
SELECT c.revision, d.kind, d.key, d.body FROM catalog c LEFT JOIN documents d ON d.body IS NOT NULL WHERE c.id = 1"""
CHANGES: Final = """
SELECT c.revision, d.kind, d.key, d.body FROM catalog c LEFT JOIN documents d ON d.revision > $1 WHERE c.id = 1"""

# Reading back: reports, not turns; they may look at all partitions

SCAN: Final = """
SELECT j.position, j.body FROM journal j WHERE j.partition = $1 AND j.position > $2 ORDER BY j.position LIMIT $3"""
HISTORY: Final = """
SELECT p.partition, p.region, p.product, j.position, j.body
FROM journal j JOIN partitions p ON p.partition = j.partition
WHERE j.received_micros >= $1 AND (j.received_micros, p.region, p.product, j.position) > ($1, $2, $3, $4)
AND ($5::text IS NULL OR p.region = $5) AND ($6::text IS NULL OR p.product = $6)
ORDER BY j.received_micros, p.region, p.product, j.position LIMIT $7"""
NAMES: Final = """
SELECT s.partition, s.series, s.license, s.customer, s.dimension, s.workload, s.token
FROM unnest($1::int[], $2::bigint[]) AS k(partition, series)
JOIN series s ON s.partition = k.partition AND s.series = k.series"""
SUMS: Final = """
SELECT p.region, p.product, r.month, s.customer, s.dimension, s.workload <> '' AS by_workload, sum(r.quantity)
FROM (
  SELECT u.partition, u.series,
    to_char(timestamp '1970-01-01' + make_interval(hours => u.hour), 'YYYY-MM') COLLATE "C" AS month,
    sum(u.quantity_micros) AS quantity
  FROM usage_records u WHERE ($1::int IS NULL OR u.hour >= $1) AND ($2::int IS NULL OR u.hour < $2) GROUP BY 1, 2, 3
) r
JOIN series s ON s.partition = r.partition AND s.series = r.series
JOIN partitions p ON p.partition = r.partition
WHERE ($3::text IS NULL OR p.region = $3) AND ($4::text IS NULL OR p.product = $4)
AND ($5::text IS NULL OR s.customer = $5) AND ($6::text IS NULL OR s.license = $6)
AND ($7::text IS NULL OR s.dimension = $7)
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6"""
"""A sum of bigints is a numeric, and exact however large."""
COUNTS: Final = "SELECT coalesce(sum(h.records), 0), coalesce(sum(h.last_position), 0) FROM partition_heads h"
BYTES: Final = """
SELECT coalesce(sum(pg_total_relation_size(t.name::regclass)), 0)::bigint FROM unnest($1::text[]) AS t(name)"""
PARTITION_NAMES: Final = "SELECT p.region, p.product FROM partitions p ORDER BY p.region, p.product"
ALL_CLAIMS: Final = """
SELECT p.region, p.product, l.kind, l.key, l.value FROM claims l JOIN partitions p ON p.partition = l.partition
ORDER BY p.region, p.product, l.kind, l.key"""

# Emptying: a sandbox alone does it

ALL_PARTITIONS: Final = "SELECT p.partition FROM partitions p ORDER BY p.partition"
LOCK_HEAD: Final = "SELECT h.last_position FROM partition_heads h WHERE h.partition = $1 FOR UPDATE"
EMPTY: Final = tuple(
    f"DELETE FROM {table} WHERE partition = $1"  # noqa: S608 - the names stand here
    for table in ("usage_records", "journal", "series", "claims")
)
EMPTY_HEAD: Final = """
UPDATE partition_heads SET version = version + 1, generation = generation + 1, last_position = 0, records = 0, forms = 0
WHERE partition = $1"""

# Pruning: old records leave, batch by batch, under the lock of their partition

OLD_RECORDS: Final = """
SELECT o.hour, o.series, o.position, one.dimension FROM (
  SELECT u.hour, u.series, u.position FROM usage_records u
  WHERE u.partition = $1 AND (u.hour, u.series) > ($2, $3) AND u.hour < $4 ORDER BY u.hour, u.series LIMIT $5
) o
CROSS JOIN LATERAL (SELECT s.dimension FROM series s WHERE s.partition = $1 AND s.series = o.series LIMIT 1) one"""
ROWS_AT: Final = """
SELECT one.position, one.body FROM unnest($2::bigint[]) AS k(position) CROSS JOIN LATERAL (
  SELECT j.position, j.body FROM journal j WHERE j.partition = $1 AND j.position = k.position LIMIT 1
) one"""
REMOVE_RECORDS: Final = "DELETE FROM usage_records WHERE partition = $1 AND hour = $2 AND series = ANY($3::bigint[])"
PUT_ROW: Final = "UPDATE journal SET body = $3 WHERE partition = $1 AND position = $2"
COUNT_DOWN: Final = "UPDATE partition_heads SET version = version + 1, records = records - $2 WHERE partition = $1"
CLAIMS_OF_KIND: Final = """
SELECT l.key, l.value FROM claims l WHERE l.partition = $1 AND l.kind = $2 AND l.key > $3 ORDER BY l.key LIMIT $4"""
FORGET_CLAIMS: Final = "DELETE FROM claims WHERE partition = $1 AND kind = $2 AND key = ANY($3::text[])"
COUNT_BEFORE: Final = """
SELECT count(*) FROM usage_records u JOIN series s ON s.partition = u.partition AND s.series = u.series
WHERE u.hour < $1 AND s.dimension <> ''"""
PARTITION_NUMBERS: Final = "SELECT p.partition, p.region, p.product FROM partitions p ORDER BY p.partition"

TURN_STATEMENTS: Final = (
    begin_and_lock(1),
    ADD_HEAD,
    FIND_SERIES,
    FIND,
    FIND_WITH_CLAIMS,
    KEEP,
    SCAN,
    LOCK_HEAD,
    *EMPTY,
    EMPTY_HEAD,
    OLD_RECORDS,
    ROWS_AT,
    REMOVE_RECORDS,
    PUT_ROW,
    COUNT_DOWN,
    CLAIMS_OF_KIND,
    FORGET_CLAIMS,
)
"""What works on one partition."""
CATALOG_STATEMENTS: Final = (
    NUMBER,
    ADD_PARTITION,
    MOVE_REVISION,
    PUT_DOCUMENTS,
    REVISION,
    LOAD,
    CHANGES,
    ALL_PARTITIONS,
    PARTITION_NAMES,
    PARTITION_NUMBERS,
)
"""What touches reference tables alone."""
REPORT_STATEMENTS: Final = (HISTORY, NAMES, SUMS, COUNTS, BYTES, ALL_CLAIMS, COUNT_BEFORE)
"""What reads all partitions, each beside its own."""
