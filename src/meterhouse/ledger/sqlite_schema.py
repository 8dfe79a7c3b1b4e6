"""The tables of a SQLite ledger, as the steps that make them (`docs/ledger-schema.sql` shows what they come to).

Rules of this file
  - A step, once released, is never changed: files exist that were made by it. A new form is a new step at the end.
  - `PRAGMA user_version` counts the steps that a file has seen; `PRAGMA application_id` says that it is ours.

Keys are integers with time or order first, so that rows are added at the right edge of their tables:
  - usage_records.key = hour << 35 | series (hours may be negative; the order holds)
  - journal.id = partition << 40 | position
A series belongs to one partition, so a record needs no partition of its own.
"""

from typing import Final

APPLICATION_ID: Final = 0x4D545248
"""`MTRH`, in the header of the file."""

SERIES_BITS: Final = 35
"""34 billion series, and 2**28 hours: more than the years 1-9999 have."""
POSITION_BITS: Final = 40
"""2**40 rows per partition, and 8 million partitions."""

STEPS: Final = (
    """
    CREATE TABLE partitions (
      id INTEGER PRIMARY KEY,
      region TEXT NOT NULL,
      product TEXT NOT NULL,
      last_position INTEGER NOT NULL,
      records INTEGER NOT NULL,
      forms INTEGER NOT NULL,
      UNIQUE (region, product)
    ) STRICT;
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
    CREATE TABLE usage_records (
      key INTEGER PRIMARY KEY,
      quantity_micros INTEGER NOT NULL,
      record_id BLOB NOT NULL,
      position INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE claims (
      partition INTEGER NOT NULL,
      kind TEXT NOT NULL,
      key TEXT NOT NULL,
      value BLOB NOT NULL,
      PRIMARY KEY (partition, kind, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE journal (
      id INTEGER PRIMARY KEY,
      received_micros INTEGER NOT NULL,
      body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX journal_by_received ON journal (received_micros);
    CREATE TABLE documents (
      kind TEXT NOT NULL,
      key TEXT NOT NULL,
      body BLOB,
      revision INTEGER NOT NULL,
      PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX documents_by_revision ON documents (revision);
    CREATE TABLE catalog (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      revision INTEGER NOT NULL
    ) STRICT;
    INSERT INTO catalog VALUES (1, 0);
    """,
)
