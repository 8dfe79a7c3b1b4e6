"""The catalog as a whole: as the text of a catalog file, out and in."""

import asyncio
from typing import Final

from meterhouse.core.moment import SECOND
from meterhouse.server.control.answers import CatalogAnswer, LoadedAnswer
from meterhouse.server.control.parts import Answered, Asked, ControlCall
from meterhouse.server.control.texts import secret_answer, token_answer
from meterhouse.service.agreements import IssuedToken
from meterhouse.service.catalog_file import LOADED_KIND, Circumstances, load
from meterhouse.service.credentials import ShownCredential
from meterhouse.service.export import export
from meterhouse.service.places import Source
from meterhouse.service.reading import read_catalog
from meterhouse.service.rows import CatalogText

WHAT_IT_IS_CALLED: Final = "toml"
"""What messages call a catalog that came by a call: the member it stands in."""


async def show_catalog(asked: Asked) -> Answered:
    """`GET /catalog`."""
    return Answered(CatalogAnswer(toml=export(asked.parts.market.catalog)))


async def load_catalog(asked: Asked) -> Answered:
    """`POST /catalog`: all or nothing, compared with what was last loaded by this call."""
    market, sources = asked.parts.market, asked.parts.sources
    # Long work is done aside: a catalog of 100,000 agreements is read and planned for seconds, and calls go on.
    written = await asyncio.to_thread(read_catalog, asked.body.toml, WHAT_IT_IS_CALLED)
    circumstances = Circumstances(
        Source.CALL, market.settings(LOADED_KIND), market.seal.fingerprint, asked.parts.environment
    )
    loaded = await market.change(lambda catalog: load(written, catalog, circumstances, sources), aside=True)
    token_micros = asked.parts.profile.token_seconds * SECOND
    return Answered(
        LoadedAnswer(
            changed=dict(loaded.changed),
            registration_tokens=[
                token_answer(shown, token_micros) for shown in loaded.shown_once if isinstance(shown, IssuedToken)
            ],
            credentials=[secret_answer(shown) for shown in loaded.shown_once if isinstance(shown, ShownCredential)],
        )
    )


CALLS: Final = (
    ControlCall("GET", "/catalog", "The whole catalog, credentials and tokens left out.", show_catalog, CatalogAnswer),
    ControlCall(
        "POST",
        "/catalog",
        "Loads a catalog file, all or nothing: what changed in it since it was last loaded by this call.",
        load_catalog,
        LoadedAnswer,
        body=CatalogText,
        refusals=(409,),
    ),
)
