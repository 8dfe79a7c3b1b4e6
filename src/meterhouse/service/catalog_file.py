"""Loading a catalog file: what changed in it since it was last loaded, applied to the catalog whole or not at all.

A file is compared with itself, not with the catalog: of each row the digest is kept that it had when it was last
loaded, one document a row, and a row whose digest is the same is not applied again. So a restart changes nothing, and
what calls have changed meanwhile stays. Which row is which of the past is told in `places.py`.

A row that is gone from the file deletes nothing. Its digest is forgotten, so that it counts as changed when it is
written again; what it was known by is kept.

Secrets go into digests as fingerprints, which are worth nothing without the master key.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import structs

from meterhouse.core.catalog import Catalog, Fact, key_of
from meterhouse.ledger.protocol import Document
from meterhouse.service.agreements import IssuedToken, agreement_of, rewritten_agreement, token_of, token_sha256
from meterhouse.service.credentials import ShownCredential, credential_of, open_of
from meterhouse.service.draft import Change, Draft, Sources, held
from meterhouse.service.listing import account_of, product_of
from meterhouse.service.places import LoadedRow, Past, Said, Source, recognise
from meterhouse.service.reading import Path, WrittenCatalog, read_catalog
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import (
    SECRET_MEMBERS,
    AccountRow,
    AgreementRow,
    CredentialTable,
    NestedWorkload,
    OpenRow,
    ProductRow,
    Row,
    TokenRow,
)

LOADED_KIND: Final = "loaded"
"""The kind of the documents that say what each row was when it was last loaded."""

row_type = TypeVar("row_type", bound=Row)


class Loaded(NamedTuple):
    """What a load did."""

    changed: Mapping[str, int]
    """How many rows made or changed something, by table; tables without any are absent."""
    shown_once: Sequence[IssuedToken | ShownCredential]
    """Random tokens and secrets that were made now, and are never shown again."""


class Circumstances(NamedTuple):
    """What a load depends on besides the file and the catalog."""

    source: Source
    kept: Mapping[str, bytes]
    """What was loaded before: the documents of `LOADED_KIND`."""
    fingerprint: Callable[[str], str]
    """The same for the same secret (`seal.Seal.fingerprint`)."""
    environment: Mapping[str, str]
    """Where `secret_access_key_env` is looked up."""


def load(written: WrittenCatalog, catalog: Catalog, circumstances: Circumstances, sources: Sources) -> Change[Loaded]:
    """What follows from a file that was read. Raises Refused, whose sentence names file, line, table and key."""
    loading = _Loading(written, catalog, circumstances, sources)
    loading.products()
    loading.agreements()
    loading.accounts()
    loading.tokens()
    loading.credentials()
    loading.open()
    loading.forget_what_is_gone()
    return Change(loading.writes, Loaded(loading.changed, loading.shown_once))


def check(text: str | bytes, name: str, environment: Mapping[str, str], sources: Sources) -> Loaded:
    """What an empty server would make of a file. Raises Refused where it would refuse it."""
    circumstances = Circumstances(Source.FILE, {}, lambda _secret: "", environment)
    return load(read_catalog(text, name), Catalog(), circumstances, sources).answer


class _Loading:
    """One load under way: what it writes is gathered, and nothing is touched."""

    def __init__(
        self, written: WrittenCatalog, catalog: Catalog, circumstances: Circumstances, sources: Sources
    ) -> None:
        self.writes: list[Fact | Document] = []
        self.changed: Counter[str] = Counter()
        self.shown_once: list[IssuedToken | ShownCredential] = []
        self._written = written
        self._catalog = catalog
        self._draft = Draft(catalog)
        self._circumstances = circumstances
        self._past = Past(circumstances.kept)
        self._sources = sources
        self._seen: set[str] = set()

    def products(self) -> None:
        """`[[products]]`."""

        def make(row: ProductRow, code: str | None) -> list[Fact]:
            present = None if code is None else self._draft.products.get(code)
            return [product_of(row, present, self._draft, self._sources)]

        self._table("products", "code", self._written.rows.products, lambda row: row.code, make)

    def agreements(self) -> None:
        """`[[agreements]]`; those that name their customer first, so that the others of the same buyer follow them."""

        def make(row: AgreementRow, agreement_id: str | None) -> list[Fact]:
            present = None if agreement_id is None else self._draft.agreements.get(agreement_id)
            if present is None:
                return [agreement_of(row, self._draft, self._sources)]
            return [rewritten_agreement(row, present, self._draft, self._sources)]

        self._table(
            "agreements",
            "id",
            self._written.rows.agreements,
            lambda row: row.id,
            make,
            group=lambda row: f"{row.product}/{row.buyer}",
            later=lambda row: row.customer_identifier is None,
        )

    def accounts(self) -> None:
        """`[[accounts]]`."""

        def make(row: AccountRow, _account_id: str | None) -> list[Fact]:
            return [account_of(row)]

        self._table("accounts", "id", self._written.rows.accounts, lambda row: row.id, make)

    def tokens(self) -> None:
        """`[[registration_tokens]]`; one that is made up is shown."""

        def make(row: TokenRow, digest: str | None) -> list[Fact]:
            present = None if digest is None else self._draft.tokens.get(digest)
            fact, issued = token_of(row, present, self._draft, self._sources)
            if row.token is None and present is None:
                self.shown_once.append(issued)
            return [fact]

        self._table(
            "registration_tokens",
            "token",
            self._written.rows.registration_tokens,
            lambda row: None if row.token is None else token_sha256(row.token),
            make,
            group=lambda row: row.agreement,
        )

    def credentials(self) -> None:
        """`[[credentials]]`, their secrets taken from where they stand; one that is made up is shown."""

        def make(row: CredentialTable, access_key_id: str | None) -> list[Fact]:
            present = None if access_key_id is None else self._draft.credentials.get(access_key_id)
            facts, shown = credential_of(row, present, self._draft, self._sources)
            if row.secret_access_key is None and present is None:
                self.shown_once.append(shown)
            return facts

        rows = [self._with_secret(row, index) for index, row in enumerate(self._written.rows.credentials)]
        self._check_workloads(rows)
        self._table("credentials", "access_key_id", rows, lambda row: row.access_key_id, make)

    def open(self) -> None:
        """`[open]`."""

        def make(row: OpenRow, _key: str | None) -> list[Fact]:
            return open_of(row, self._draft, self._sources)

        identity = self._written.rows.open
        if identity is not None:
            self._table("open", "", [identity], lambda _row: "", make)

    def forget_what_is_gone(self) -> None:
        """What was in the file and is no longer."""
        for loaded_key, row in self._past.gone(self._circumstances.source, self._seen):
            self.writes.append(_kept(loaded_key, row))

    def _table(
        self,
        table: str,
        id_field: str,
        rows: Sequence[row_type],
        id_of: Callable[[row_type], str | None],
        make: Callable[[row_type, str | None], list[Fact]],
        *,
        group: Callable[[row_type], str] = lambda _row: "",
        later: Callable[[row_type], bool] = lambda _row: False,
    ) -> None:
        """Applies the changed rows of a table: those for which `later` says so last; written in their order."""
        self._check_twins(table, id_field, [id_of(row) for row in rows])
        said = [Said(id_of(row), group(row), self._digest(row)) for row in rows]
        known = recognise(table, said, self._circumstances.source, self._past)
        self._seen.update(recognised.loaded_key for recognised in known)
        changed = [index for index, recognised in enumerate(known) if recognised.changed]
        made: dict[int, Sequence[Fact]] = {}
        for index in sorted(changed, key=lambda index: later(rows[index])):
            try:
                made[index] = make(rows[index], known[index].fact)
            except Refused as refused:
                raise self._written.refused(refused, _path(table, index)) from None
            for fact in made[index]:
                self._draft.put(fact)
        for index in changed:
            new = [fact for fact in made[index] if held(self._catalog, fact) != fact]
            self.changed.update({table: 1} if new else {})
            self.writes.extend(new)
            self.writes.append(_kept(known[index].loaded_key, LoadedRow(said[index].digest, key_of(made[index][-1]))))

    def _check_twins(self, table: str, id_field: str, ids: Sequence[str | None]) -> None:
        first: dict[str, int] = {}
        for index, row_id in enumerate(ids):
            if row_id is not None and first.setdefault(row_id, index) != index:
                reason = f"the same as that of [[{table}]] no. {first[row_id] + 1}"
                raise self._written.refused(Refused(RefusalKind.INVALID, reason, id_field), _path(table, index))

    def _with_secret(self, row: CredentialTable, index: int) -> CredentialTable:
        name = row.secret_access_key_env
        if name is None:
            return row
        secret = self._circumstances.environment.get(name)
        reason = f'the environment has no variable "{name}", or it is empty'
        if row.secret_access_key is not None:
            reason = "secret_access_key is given too: one of the two can be"
        if not secret or row.secret_access_key is not None:
            refused = Refused(RefusalKind.INVALID, reason, "secret_access_key_env")
            raise self._written.refused(refused, _path("credentials", index))
        return structs.replace(row, secret_access_key=secret, secret_access_key_env=None)

    def _check_workloads(self, rows: Sequence[CredentialTable]) -> None:
        """A workload may be handed several credentials; it must be described the same way each time."""
        described: dict[str, tuple[str, NestedWorkload, str]] = {}
        nested = [(_path("credentials", index), row.account, row.workload) for index, row in enumerate(rows)]
        if (identity := self._written.rows.open) is not None:
            nested.append((("open",), identity.account, identity.workload))
        for path, account, workload in nested:
            if workload is None:
                continue
            place = f"[[credentials]] no. {int(path[1]) + 1}" if len(path) > 1 else "[open]"
            first = described.setdefault(workload.resource_id, (account, workload, place))
            if first[:2] != (account, workload):
                reason = f'"{workload.resource_id}" is described otherwise in {first[2]}'
                raise self._written.refused(Refused(RefusalKind.INVALID, reason, "workload.resource_id"), path)

    def _digest(self, row: Row) -> bytes:
        secrets = {
            name: self._circumstances.fingerprint(value)
            for name in row.__struct_fields__
            if name in SECRET_MEMBERS and (value := getattr(row, name)) is not None
        }
        encoded = msgspec.json.encode(structs.replace(row, **secrets), order="deterministic")
        return sha256(encoded).digest()[:16]


def _path(table: str, index: int) -> Path:
    return (table,) if table == "open" else (table, index)


def _kept(loaded_key: str, row: LoadedRow) -> Document:
    return Document(LOADED_KIND, loaded_key, msgspec.msgpack.encode(row))
