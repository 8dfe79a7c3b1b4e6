"""Workloads: what runs at a buyer, from its start to its end, and the address at which it finds its credentials."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import structs

from meterhouse.core.catalog import Catalog, Platform, Workload
from meterhouse.core.moment import rfc3339
from meterhouse.core.quantity import text_of_price_units
from meterhouse.core.running import end_micros_of, seconds_of_running
from meterhouse.server.control.answers import Page, RegisteredAnswer, StartedWorkloadAnswer, WorkloadAnswer
from meterhouse.server.control.pages import PageQuery, page_of
from meterhouse.server.control.parts import Answered, Asked, ControlCall, ControlParts
from meterhouse.server.control.texts import secret_answer, when
from meterhouse.service.credentials import StartedWorkload, ended_workload, heartbeat, new_workload
from meterhouse.service.draft import Change
from meterhouse.service.hand_out import LIFETIME_MICROS, Opened, new_hand_out
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.registrations import Registration, registrations_of, running_amount_units
from meterhouse.service.rows import WorkloadRow

CREDENTIALS_PATH: Final = "/_meterhouse/credentials/"
"""Before the secret of a workload's address."""


async def list_workloads(asked: Asked) -> Answered:
    """`GET /workloads`."""
    workloads, following = await page_of(asked.parts.market.catalog.workloads, asked.query)
    return Answered(Page(items=await _answers(workloads, asked.parts), next=following))


async def begin_workload(asked: Asked) -> Answered:
    """`POST /workloads`."""
    parts, row = asked.parts, asked.body
    services = parts.instance_metadata if row.platform is Platform.EC2 else None
    port = None if services is None else await services.listen()
    try:
        started, name, opened = await parts.market.change(lambda catalog: _started(row, port, catalog, parts))
    except BaseException:
        if services is not None and port is not None:
            await services.give_up(port)
        raise
    endpoint = None if services is None or port is None else await services.open(name, port)
    answer = StartedWorkloadAnswer(
        **structs.asdict(_answer(started.workload, [], parts)),
        credentials=secret_answer(started.credential),
        credentials_uri=f"{asked.origin}{CREDENTIALS_PATH}{opened.address_secret}",
        authorization_token=opened.authorization_token,
        metadata_endpoint=endpoint,
    )
    return Answered(answer, 201)


def _started(
    row: WorkloadRow, port: int | None, catalog: Catalog, parts: ControlParts
) -> Change[tuple[StartedWorkload, str, Opened]]:
    """A workload, and the address at which it finds its credentials."""
    writes, started = new_workload(row, parts.real_now() + LIFETIME_MICROS, catalog, parts.sources)
    document, opened = new_hand_out(
        started.workload.resource_id, started.credential.access_key_id, parts.sources.random_bytes, port
    )
    return Change([*writes, document], (started, document.key, opened))


async def show_workload(asked: Asked) -> Answered:
    """`GET /workloads/{resource_id}`."""
    resource_id = asked.path["resource_id"]
    workload = asked.parts.market.catalog.workloads.get(resource_id)
    if workload is None:
        raise Refused(RefusalKind.NOT_FOUND, f'no workload has the resource id "{resource_id}"')
    return Answered((await _answers([workload], asked.parts))[0])


async def end_workload(asked: Asked) -> Answered:
    """`POST /workloads/{resource_id}/end`."""
    resource_id, sources = asked.path["resource_id"], asked.parts.sources
    workload = await asked.parts.market.change(lambda catalog: ended_workload(resource_id, catalog, sources))
    if asked.parts.instance_metadata is not None:
        await asked.parts.instance_metadata.close_ended()
    return Answered((await _answers([workload], asked.parts))[0])


async def beat(asked: Asked) -> Answered:
    """`POST /workloads/{resource_id}/heartbeat`."""
    resource_id, sources = asked.path["resource_id"], asked.parts.sources
    workload = await asked.parts.market.change(lambda catalog: heartbeat(resource_id, catalog, sources))
    return Answered((await _answers([workload], asked.parts))[0])


async def _answers(workloads: Sequence[Workload], parts: ControlParts) -> list[WorkloadAnswer]:
    found = defaultdict(list)
    for registration in await registrations_of(parts.ledger, parts.market, workloads):
        found[registration.workload.resource_id].append(registration)
    return [_answer(workload, found[workload.resource_id], parts) for workload in workloads]


def _answer(workload: Workload, registrations: Iterable[Registration], parts: ControlParts) -> WorkloadAnswer:
    return WorkloadAnswer(
        resource_id=workload.resource_id,
        platform=workload.platform,
        account=workload.account,
        region=workload.region,
        launched=rfc3339(workload.launched_micros),
        ended=when(workload.ended_micros),
        heartbeat_seconds=workload.heartbeat_seconds,
        last_seen=when(workload.last_seen_micros),
        registered=[_registered(registration, parts) for registration in registrations],
    )


def _registered(registration: Registration, parts: ControlParts) -> RegisteredAnswer:
    workload = registration.workload
    now_micros = parts.clocks.now_micros(workload.account)
    seconds = seconds_of_running(registration.since_micros, end_micros_of(workload, now_micros), now_micros)
    product = parts.market.catalog.products[registration.product]
    # In its seller's own account a task runs in preview, which is not billed.
    price_units = 0 if product.seller == workload.account else product.hourly_price_units
    return RegisteredAnswer(
        product=product.code,
        since=rfc3339(registration.since_micros),
        seconds=str(seconds),
        amount=text_of_price_units(running_amount_units(seconds, price_units)),
    )


CALLS: Final = (
    ControlCall("GET", "/workloads", "The workloads.", list_workloads, Page[WorkloadAnswer], query=PageQuery),
    ControlCall(
        "POST",
        "/workloads",
        "Starts a workload; its first credentials are shown this once.",
        begin_workload,
        StartedWorkloadAnswer,
        201,
        body=WorkloadRow,
        refusals=(409,),
    ),
    ControlCall("GET", "/workloads/{resource_id}", "A workload.", show_workload, WorkloadAnswer, refusals=(404,)),
    ControlCall(
        "POST",
        "/workloads/{resource_id}/end",
        "Ends a workload: its credentials are refused from now on.",
        end_workload,
        WorkloadAnswer,
        refusals=(404, 409),
    ),
    ControlCall(
        "POST",
        "/workloads/{resource_id}/heartbeat",
        "A sign of life; one that comes after the heartbeat has lapsed revives the workload.",
        beat,
        WorkloadAnswer,
        refusals=(404, 409),
    ),
)
