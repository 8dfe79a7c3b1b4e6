"""`meterhouse serve`: the service, until it is stopped."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.core.profile import NEWEST
from meterhouse.server.log import LogLevel
from meterhouse.server.settings import (
    THROTTLE_OFF,
    Auth,
    BadSettings,
    ClockMode,
    Settings,
    profile_named,
    rates_named,
)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8750,
    data: str = "meterhouse.db",
    catalog: Path | None = None,
    auth: Auth = Auth.STRICT,
    open_to_network: Annotated[bool, Parameter(negative=())] = False,
    region: Annotated[tuple[str, ...], Parameter(consume_multiple=False, negative=(), show_default=False)] = (),
    clock: ClockMode = ClockMode.REAL,
    throttle: str = THROTTLE_OFF,
    profile: str = NEWEST.name,
    imds: Annotated[bool, Parameter(negative=())] = False,
    workers: int = 1,
    log_level: LogLevel = LogLevel.INFO,
) -> None:
    """Serve the AWS Marketplace Metering Service.

    Prints `Meterhouse is ready at http://HOST:PORT` once it answers, and serves until it is stopped (Ctrl-C, SIGTERM);
    requests under way are finished first.

    Example: meterhouse serve --catalog catalog.toml --clock test

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port to listen on; 0 lets the system pick one.
    data
        The ledger: a SQLite file, made where there is none; `postgresql://…`, for many servers at once; or `memory`,
        which is gone when the server stops.
    catalog
        A TOML file of products, buyers, agreements, credentials and tokens. Loading it again changes nothing.
    auth
        `strict` verifies signatures and policies; `open` verifies neither, for a laptop.
    open_to_network
        Allow `--auth open` on a host that others can reach.
    region
        A Region to serve, to be given as often as wanted; without it every well-formed one is served.
    clock
        `test` makes the server a sandbox: clock, faults and reset can be called.
    throttle
        `off`; `aws` for AWS's own figures, per account, Region and operation; or a TOML file of a table an operation
        (`[BatchMeterUsage]`, `per_second = 10`, `burst = 10`).
    profile
        The rules as of a month: 2026-11, 2026-06, 2020-11 or 2018-06.
    imds
        Give each EC2 workload an instance metadata service (IMDSv2) on a loopback port of its own.
    workers
        How many processes serve; more than one needs PostgreSQL.
    log_level
        How much is logged on standard error, one JSON object a line: every refusal and change at `info`, every request
        at `debug`.
    """
    from meterhouse.server.serving import serve_until_stopped
    from meterhouse.server.workers import CannotServe

    try:
        settings = Settings(
            host=host,
            port=port,
            data=data,
            catalog=catalog,
            auth=auth,
            open_to_network=open_to_network,
            regions=tuple(name for given in region for name in given.split(",") if name),
            clock=clock,
            profile=profile_named(profile),
            throttle=rates_named(throttle),
            imds=imds,
            workers=workers,
        )
    except BadSettings as error:
        raise CommandFailed(str(error), 2) from None
    try:
        serve_until_stopped(settings, log_level, lambda line: print(line, flush=True))
    except CannotServe as error:
        raise CommandFailed(str(error), error.exit_code) from None
