"""What a copy of a SQLite ledger needs beside the protocol: read on a connection of its own, beside the open engine."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from meterhouse.core.usage import ClaimKey, Partition
from meterhouse.ledger.copying import Claim
from meterhouse.ledger.protocol import Ledger
from meterhouse.ledger.sqlite_file import connect_to_read, failure_of, place_of_ledger
from meterhouse.ledger.sqlite_rows import fetch


class SqlitePlace:
    """See `copying.Place`: an open SQLite ledger, and its file."""

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self.ledger = ledger
        self._path = place_of_ledger(path)

    async def partitions(self) -> Sequence[Partition]:
        """See `copying.Place`."""
        rows = await asyncio.to_thread(self._rows, "SELECT region, product FROM partitions")
        return [Partition(region, product) for region, product in rows]

    async def claims(self) -> Sequence[Claim]:
        """See `copying.Place`."""
        rows = await asyncio.to_thread(
            self._rows,
            "SELECT p.region, p.product, c.kind, c.key, c.value FROM claims AS c CROSS JOIN partitions AS p "
            "ON p.id = c.partition",
        )
        return [(Partition(region, product), ClaimKey(kind, key), value) for region, product, kind, key, value in rows]

    def _rows(self, statement: str) -> Sequence[tuple[Any, ...]]:
        try:
            db = connect_to_read(self._path, "")
            try:
                return fetch(db, statement)
            finally:
                db.close()
        except apsw.Error as error:
            raise failure_of(error, self._path) from error
