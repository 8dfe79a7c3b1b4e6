"""Whatever is killed of a service on PostgreSQL, nothing that was acknowledged is lost, and nothing is doubled."""

from pathlib import Path

from tests.e2e.postgres_killing import VICTIMS, run


def test_what_was_acknowledged_survives_every_kill(tmp_path: Path) -> None:
    """`kill -9` under load, of a process, a server, a backend and the database: what was acknowledged is there once,
    clients see only what they send again, and the service comes back by itself.
    """
    assert len(list(run(list(VICTIMS), 20_261_124, tmp_path, batch_count=60))) == len(VICTIMS)
