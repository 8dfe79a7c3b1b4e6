"""The tables of a PostgreSQL ledger, as the steps that make them, and how they are spread over a distributed engine.

Rules of this file
  - A step, once released, is never changed: databases exist that were made by it. A new form is a new step at the end.
    `meterhouse_schema.steps` counts the steps that a database has seen.
  - Usage begins with its partition: every key of its tables has it first, so that one turn touches one shard. There is
    no serial and no trigger, and no unique key without the partition: a distributed engine refuses these, or makes
    them dear. Numbers (of series, of positions) are given out under the partition's head instead.
  - `catalog`, `documents` and `partitions` are small and the same everywhere: reference tables. A turn reads the first
    and writes none of them.
  - Texts are compared by their bytes (`COLLATE "C"`), as the other engines do.
"""

from typing import Final

HEADS: Final = "partition_heads"
"""What all other usage lies beside."""
USAGE_TABLES: Final = (HEADS, "usage_records", "journal", "series", "claims")
"""Distributed by their partition; the head first, because the others are laid beside it."""
REFERENCE_TABLES: Final = ("catalog", "documents", "partitions")
"""Small, and the same on every node."""
SHARDS: Final = 32
"""How many pieces a distributed engine makes of the partitions: more than the nodes that one can afford to begin with,
so that later ones can take some over."""

SCHEMA_TABLE: Final = """
CREATE TABLE IF NOT EXISTS meterhouse_schema (
  id int PRIMARY KEY CHECK (id = 1), steps int NOT NULL, distributed boolean NOT NULL
)"""

_TABLES: Final = """
CREATE TABLE catalog (id int PRIMARY KEY CHECK (id = 1), revision bigint NOT NULL);
INSERT INTO catalog (id, revision) VALUES (1, 0);
CREATE TABLE documents (
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  body bytea,
  revision bigint NOT NULL,
  PRIMARY KEY (kind, key)
);
CREATE INDEX documents_by_revision ON documents (revision);
CREATE TABLE partitions (
  partition int PRIMARY KEY,
  region text COLLATE "C" NOT NULL,
  product text COLLATE "C" NOT NULL,
  UNIQUE (region, product)
);
CREATE TABLE partition_heads (
  partition int PRIMARY KEY,
  version bigint NOT NULL DEFAULT 0,
  generation bigint NOT NULL DEFAULT 0,
  last_position bigint NOT NULL DEFAULT 0,
  records bigint NOT NULL DEFAULT 0,
  last_series bigint NOT NULL DEFAULT 0,
  forms int NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
CREATE TABLE usage_records (
  partition int NOT NULL,
  hour int NOT NULL,
  series bigint NOT NULL,
  quantity_micros bigint NOT NULL,
  position bigint NOT NULL,
  record_id bytea NOT NULL,
  PRIMARY KEY (partition, hour, series)
);
CREATE TABLE journal (
  partition int NOT NULL,
  position bigint NOT NULL,
  received_micros bigint NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (partition, position)
);
CREATE INDEX journal_by_received ON journal (received_micros);
CREATE TABLE series (
  partition int NOT NULL,
  series bigint NOT NULL,
  license text COLLATE "C" NOT NULL,
  customer text COLLATE "C" NOT NULL,
  dimension text COLLATE "C" NOT NULL,
  workload text COLLATE "C" NOT NULL,
  token text COLLATE "C" NOT NULL,
  PRIMARY KEY (partition, series),
  UNIQUE (partition, customer, dimension, license, workload, token)
);
CREATE TABLE claims (
  partition int NOT NULL,
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  value bytea NOT NULL,
  PRIMARY KEY (partition, kind, key)
)"""

_KEEP_GROUP: Final = """
CREATE FUNCTION keep_group(
  p_partition int, p_lock int, p_revision bigint, p_version bigint,
  p_last_position bigint, p_records bigint, p_last_series bigint, p_forms int,
  p_hours text, p_series text, p_quantities text, p_positions text, p_ids text,
  p_rows bigint[], p_received bigint[], p_bodies bytea[],
  p_new_series bigint[], p_licenses text[], p_customers text[], p_dimensions text[], p_workloads text[],
  p_tokens text[],
  p_kinds text[], p_keys text[], p_values bytea[]
) RETURNS text LANGUAGE plpgsql AS $body$
DECLARE
  found_revision bigint;
  changed_count bigint;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(p_lock, hashtext(current_schema()));
  SELECT c.revision INTO found_revision FROM catalog c WHERE c.id = 1;
  IF found_revision IS DISTINCT FROM p_revision THEN
    RETURN 'stale';
  END IF;
  UPDATE partition_heads SET version = p_version + 1, last_position = p_last_position, records = p_records,
    last_series = p_last_series, forms = p_forms
    WHERE partition = p_partition AND version = p_version;
  GET DIAGNOSTICS changed_count = ROW_COUNT;
  IF changed_count <> 1 THEN
    RETURN 'moved';
  END IF;
  INSERT INTO usage_records (partition, hour, series, quantity_micros, position, record_id)
    SELECT h.partition, t.* FROM partition_heads h
    CROSS JOIN unnest(p_hours::int[], p_series::bigint[], p_quantities::bigint[], p_positions::bigint[], p_ids::bytea[])
      AS t(hour, series, quantity, position, id)
    WHERE h.partition = p_partition;
  GET DIAGNOSTICS changed_count = ROW_COUNT;
  IF changed_count <> cardinality(p_hours::int[]) THEN
    RAISE EXCEPTION 'records' USING ERRCODE = 'MH001';
  END IF;
  INSERT INTO journal (partition, position, received_micros, body)
    SELECT h.partition, t.* FROM partition_heads h
    CROSS JOIN unnest(p_rows, p_received, p_bodies) AS t(position, received, body)
    WHERE h.partition = p_partition;
  GET DIAGNOSTICS changed_count = ROW_COUNT;
  IF changed_count <> cardinality(p_rows) THEN
    RAISE EXCEPTION 'rows' USING ERRCODE = 'MH001';
  END IF;
  IF cardinality(p_new_series) > 0 THEN
    INSERT INTO series (partition, series, license, customer, dimension, workload, token)
      SELECT h.partition, t.* FROM partition_heads h
      CROSS JOIN unnest(p_new_series, p_licenses, p_customers, p_dimensions, p_workloads, p_tokens)
        AS t(series, license, customer, dimension, workload, token)
      WHERE h.partition = p_partition;
    GET DIAGNOSTICS changed_count = ROW_COUNT;
    IF changed_count <> cardinality(p_new_series) THEN
      RAISE EXCEPTION 'series' USING ERRCODE = 'MH001';
    END IF;
  END IF;
  IF cardinality(p_kinds) > 0 THEN
    INSERT INTO claims (partition, kind, key, value)
      SELECT h.partition, t.* FROM partition_heads h
      CROSS JOIN unnest(p_kinds, p_keys, p_values) AS t(kind, key, value)
      WHERE h.partition = p_partition;
    GET DIAGNOSTICS changed_count = ROW_COUNT;
    IF changed_count <> cardinality(p_kinds) THEN
      RAISE EXCEPTION 'claims' USING ERRCODE = 'MH001';
    END IF;
  END IF;
  RETURN 'kept';
END
$body$"""

STEPS: Final = (f"{_TABLES};\n{_KEEP_GROUP}",)


def distribution() -> list[str]:
    """The calls that spread the tables over a distributed engine's nodes, in order: `meterhouse migrate --citus`."""
    head, *others = USAGE_TABLES
    return [
        *(f"SELECT create_reference_table('{table}')" for table in REFERENCE_TABLES),
        f"SELECT create_distributed_table('{head}', 'partition', shard_count => {SHARDS}, colocate_with => 'none')",
        *(f"SELECT create_distributed_table('{table}', 'partition', colocate_with => '{head}')" for table in others),
    ]
