"""The present catalog as the text of a catalog file, in the form in which people write it.

Products, agreements, accounts and `[open]`: what an empty server loads to the same. Credentials and registration tokens
stay behind, since their secrets must not leave. Rows stand in the order of their names, not in that in which they
happen to have been made or read: the same catalog is the same text, also after a restart. A writer of our own, because
the libraries fold short tables into one-line lists, and the file should look like those that people write.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec import Struct, structs

from meterhouse.core.catalog import Catalog, OpenIdentity
from meterhouse.service.rows import row_of_account, row_of_agreement, row_of_open, row_of_product


def export(catalog: Catalog) -> str:
    """The whole catalog as TOML, what holds secrets left out and counted in a comment."""
    return "".join(f"{line}\n" for line in _lines(catalog))


def _lines(catalog: Catalog) -> Iterator[str]:
    yield (
        f"# Left out, because secrets are not exported: "
        f"credentials {len(catalog.credentials)}, registration tokens {len(catalog.tokens)}."
    )
    for _, product in sorted(catalog.products.items()):
        row = row_of_product(product)
        yield from _table("[[products]]", row)
        for dimension in row.dimensions:
            yield from _table("[[products.dimensions]]", dimension)
    for _, agreement in sorted(catalog.agreements.items()):
        yield from _table("[[agreements]]", row_of_agreement(agreement))
    for _, account in sorted(catalog.accounts.items()):
        yield from _table("[[accounts]]", row_of_account(account))
    if catalog.open != OpenIdentity():
        identity = row_of_open(catalog.open, catalog.workloads.get(catalog.open.workload or ""))
        yield from _table("[open]", identity)
        if identity.workload is not None:
            yield from _table("[open.workload]", identity.workload)


def _table(head: str, row: Struct) -> Iterator[str]:
    """A table of a row's own members, those at their defaults left out."""
    yield ""
    yield head
    for field in structs.fields(row):
        value = getattr(row, field.name)
        if field.required or value != field.default:
            text = _toml(value)
            if text is not None:
                yield f"{field.name} = {text}"


def _toml(value: object) -> str | None:
    """A value as TOML; None for what is a table of its own."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            # TOML's basic strings are JSON's, but that the one control character JSON leaves alone is escaped too.
            return msgspec.json.encode(str(value)).decode().replace("\x7f", "\\u007f")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case [str(), *_]:
            return f"[{', '.join(str(_toml(each)) for each in value)}]"
        case _:
            return None
