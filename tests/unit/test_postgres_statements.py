"""The statements of the PostgreSQL engine as texts: what a distributed engine would refuse, or send to all its nodes.

Citus is in no package index, so what was tried on a cluster once is held here by rules on the texts.
"""

import re
from typing import Final

import pytest

from meterhouse.ledger import postgres_statements
from meterhouse.ledger.postgres_schema import HEADS, REFERENCE_TABLES, STEPS, USAGE_TABLES, distribution
from meterhouse.ledger.postgres_statements import (
    CATALOG_STATEMENTS,
    KEEP,
    REPORT_STATEMENTS,
    TURN_STATEMENTS,
    begin_and_lock,
)

SCHEMA: Final = "\n".join(STEPS)
TABLES: Final = dict(re.findall(r"CREATE TABLE (\w+) \(([^;]*)", SCHEMA))
BODY: Final = SCHEMA.partition("$body$")[2].partition("$body$")[0]
REFUSED: Final = [
    (r"\bserial\b|\bbigserial\b|\bIDENTITY\b", "a node's own numbers are neither dense nor in order"),
    (r"\bTRIGGER\b", "refused on distributed tables"),
    (r"\bCREATE SEQUENCE\b|\bnextval\b", "a sequence is a node's own"),
    (r"\bFOREIGN KEY\b|\bREFERENCES\b", "each insert would look at another table"),
    (r"\bNOTIFY\b|\bLISTEN\b", "local to a node"),
    (r"\block_timeout\b", "not passed on"),
]


def tables_in(statement: str) -> set[str]:
    """The tables of ours that a statement names as tables."""
    names = re.findall(r"(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)", statement)
    return {name for name in names if name in {*USAGE_TABLES, *REFERENCE_TABLES}}


def test_every_statement_is_judged() -> None:
    """No statement of the module is in none of the lists that are judged here."""
    listed = {*TURN_STATEMENTS, *CATALOG_STATEMENTS, *REPORT_STATEMENTS}
    for name, value in vars(postgres_statements).items():
        if name.startswith("_") or name in {"TURN_STATEMENTS", "CATALOG_STATEMENTS", "REPORT_STATEMENTS", "ALONE"}:
            continue
        texts = value if isinstance(value, tuple) else (value,)
        assert all(text in listed for text in texts if isinstance(text, str)), name


def test_every_table_is_distributed_or_everywhere() -> None:
    """The schema's tables are those that `--citus` lays out, and no other."""
    assert set(TABLES) == {*USAGE_TABLES, *REFERENCE_TABLES}


@pytest.mark.parametrize("table", USAGE_TABLES)
def test_every_key_of_usage_has_the_partition_first(table: str) -> None:
    """A unique key without the partition is refused; with it elsewhere than first, a turn would not find its own."""
    keys = re.findall(r"(?:PRIMARY KEY|UNIQUE) \(([^)]*)\)", TABLES[table])
    if table == HEADS:
        assert "partition int PRIMARY KEY" in TABLES[table]
    else:
        assert keys
    assert all(key.split(", ")[0] == "partition" for key in keys)


@pytest.mark.parametrize(("pattern", "why"), REFUSED, ids=[pattern for pattern, _ in REFUSED])
def test_nothing_is_used_that_a_distributed_engine_refuses(pattern: str, why: str) -> None:
    """Neither the schema nor a statement has what is refused, or means something else there."""
    for text in (*STEPS, *TURN_STATEMENTS, *CATALOG_STATEMENTS, *REPORT_STATEMENTS):
        assert not re.search(pattern, text, re.IGNORECASE), why


@pytest.mark.parametrize("statement", [text for text in TURN_STATEMENTS if text not in {KEEP, begin_and_lock(1)}])
def test_a_statement_of_a_turn_names_its_partition(statement: str) -> None:
    """Each is for one shard: every table of usage in it is tied to the partition that is its first parameter."""
    usage = tables_in(statement) & set(USAGE_TABLES)
    assert usage
    if statement.lstrip().startswith("INSERT"):
        assert re.search(r"\(partition[,)].*VALUES \(\$1[,)]", statement)
    else:
        assert len(re.findall(r"(?:\w+\.)?partition = \$1", statement)) == len(usage)


def test_the_lock_names_its_partition() -> None:
    """The head is locked alone, in a statement that reads nothing that it guards."""
    *_, lock = begin_and_lock(7).split("; ")
    assert tables_in(lock) == {HEADS}
    assert lock.endswith("WHERE h.partition = 7 FOR UPDATE")


def test_no_statement_locks_and_reads() -> None:
    """Whoever waits for a lock within a statement sees the state of before it waited."""
    for statement in (*TURN_STATEMENTS, *CATALOG_STATEMENTS, *REPORT_STATEMENTS):
        if "FOR UPDATE" in statement:
            assert tables_in(statement) == {HEADS}


def test_what_is_kept_goes_through_the_head() -> None:
    """Each insert of the function that keeps a group comes from the head of its partition, and is counted."""
    inserts = re.findall(r"INSERT INTO (\w+) \(partition,.*?;", BODY, re.DOTALL)
    assert set(inserts) == set(USAGE_TABLES) - {HEADS}
    for insert in re.findall(r"INSERT INTO.*?;", BODY, re.DOTALL):
        assert re.search(r"SELECT h\.partition, t\.\* FROM partition_heads h\s+CROSS JOIN unnest", insert)
        assert re.search(r"WHERE h\.partition = p_partition;$", insert)
    assert BODY.count("GET DIAGNOSTICS changed_count = ROW_COUNT") == len(inserts) + 1
    assert re.search(
        r"UPDATE partition_heads.*?WHERE partition = p_partition AND version = p_version;", BODY, re.DOTALL
    )


def test_what_is_looked_up_is_looked_up_row_by_row() -> None:
    """A plan that was made while a table was small must not read a whole partition for ever."""
    for statement in TURN_STATEMENTS:
        for look in re.findall(r"unnest\([^)]*\)\s+AS \w+\([^)]*\)\s+(.*?)\(", statement, re.DOTALL):
            assert look.split() == ["CROSS", "JOIN", "LATERAL"]


@pytest.mark.parametrize("statement", CATALOG_STATEMENTS)
def test_the_catalog_is_apart_from_usage(statement: str) -> None:
    """What writes to every node is never part of a turn, and touches no shard."""
    assert tables_in(statement) <= set(REFERENCE_TABLES)


def test_a_report_joins_within_partitions() -> None:
    """What reads all partitions joins each with what lies beside it."""
    for statement in REPORT_STATEMENTS:
        for join in re.findall(r"JOIN (\w+) (\w) ON (\S+) = (\S+)", statement):
            assert {join[2].partition(".")[2], join[3].partition(".")[2]} == {"partition"}


def test_the_layout_begins_with_the_head() -> None:
    """Reference tables first, then the head, then what lies beside it."""
    calls = [re.sub(r"SELECT create_(\w+)\('(\w+)'.*", r"\1 \2", call) for call in distribution()]
    assert calls == [
        *(f"reference_table {table}" for table in REFERENCE_TABLES),
        *(f"distributed_table {table}" for table in USAGE_TABLES),
    ]
    assert all("colocate_with => 'partition_heads'" in call for call in distribution()[len(REFERENCE_TABLES) + 1 :])
