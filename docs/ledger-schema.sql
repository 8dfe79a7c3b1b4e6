-- The tables of a SQLite ledger (PRAGMA application_id = 0x4D545248, "MTRH"; PRAGMA user_version = 1).
-- The file is made by the steps in src/meterhouse/ledger/sqlite_schema.py; a test holds this page against them.

-- One (Region, product). `records` counts its usage records; `forms` says in which forms usage was named in it,
-- by product or by license (bits: src/meterhouse/core/usage.py).
CREATE TABLE partitions (
  id INTEGER PRIMARY KEY,
  region TEXT NOT NULL,
  product TEXT NOT NULL,
  last_position INTEGER NOT NULL,
  records INTEGER NOT NULL,
  forms INTEGER NOT NULL,
  UNIQUE (region, product)
) STRICT;

-- Whose usage of what: the identity that repeats hour after hour, under a small number. Empty: not part of it.
CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  partition INTEGER NOT NULL,
  customer TEXT NOT NULL,
  dimension TEXT NOT NULL,
  license TEXT NOT NULL,
  workload TEXT NOT NULL,
  token TEXT NOT NULL,
  UNIQUE (partition, customer, dimension, license, workload, token)
) STRICT;

-- key = hour << 35 | series, hours since 1970-01-01T00:00Z (before it negative); record_id has 16 bytes;
-- position is that of the journal row in the series' partition.
CREATE TABLE usage_records (
  key INTEGER PRIMARY KEY,
  quantity_micros INTEGER NOT NULL,
  record_id BLOB NOT NULL,
  position INTEGER NOT NULL
) STRICT;

-- What happens once: a ClientToken's use, a workload's first success, a registration.
CREATE TABLE claims (
  partition INTEGER NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (partition, kind, key)
) STRICT, WITHOUT ROWID;

-- id = partition << 40 | position; body is MessagePack, see src/meterhouse/ledger/packing.py.
CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  received_micros INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX journal_by_received ON journal (received_micros);

-- Facts of the catalog and settings. A body that is NULL: deleted. revision is that of the last change.
CREATE TABLE documents (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  body BLOB,
  revision INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_by_revision ON documents (revision);

-- One row: how often documents have changed.
CREATE TABLE catalog (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  revision INTEGER NOT NULL
) STRICT;
