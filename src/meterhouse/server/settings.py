"""What a server can be told, each setting once: the command line's flags and the METERHOUSE_… variables alike."""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from meterhouse.core.profile import NEWEST, PROFILES, Profile
from meterhouse.core.regions import well_formed
from meterhouse.server.throttle import AWS_RATES, BadRates, Rate, read_rates

LAST_PORT: Final = 65_535
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
THROTTLE_OFF: Final = "off"
THROTTLE_AWS: Final = "aws"
MEMORY: Final = "memory"
"""The `--data` of a ledger that is gone when the server stops."""
POSTGRES_SCHEMES: Final = ("postgresql://", "postgres://")
"""How the `--data` of a PostgreSQL database begins."""


class Auth(StrEnum):
    """Whether signatures and policies are judged."""

    STRICT = "strict"
    OPEN = "open"


class ClockMode(StrEnum):
    """Whether the clock can be set by calls, which makes the server a sandbox."""

    REAL = "real"
    TEST = "test"


class BadSettings(Exception):
    """A setting cannot be honoured; one sentence says which and why."""


class Settings(Struct, frozen=True):
    """How a server is to run."""

    host: str = "127.0.0.1"
    port: int = 8750
    """0: one that the system picks."""
    data: str = "meterhouse.db"
    """A SQLite file, `memory`, or the address of a PostgreSQL database."""
    catalog: Path | None = None
    auth: Auth = Auth.STRICT
    open_to_network: bool = False
    regions: tuple[str, ...] = ()
    """None given: every well-formed one is served."""
    clock: ClockMode = ClockMode.REAL
    profile: Profile = NEWEST
    throttle: Mapping[str, Rate] = {}
    """How often each operation may be called, by its name; one without a rate is not throttled."""
    imds: bool = False
    """Whether EC2 workloads get an instance metadata service, each on a loopback port of its own."""
    workers: int = 1
    """How many processes serve."""

    def __post_init__(self) -> None:
        """Raises BadSettings where the settings contradict each other."""
        for region in self.regions:
            if not well_formed(region):
                raise BadSettings(f"--region: {region!r} is not of the form of a Region, such as us-east-1.")
        if not 0 <= self.port <= LAST_PORT:
            raise BadSettings(f"--port: {self.port} is no port; 0 to {LAST_PORT} can be given.")
        if self.auth is Auth.OPEN and not self.on_loopback and not self.open_to_network:
            raise BadSettings(
                f"--auth open on {self.host} would let anyone who reaches this machine meter usage; "
                "add --open-to-network if that is meant, or serve on 127.0.0.1."
            )
        if self.workers < 1:
            raise BadSettings(f"--workers: {self.workers} processes cannot serve; 1 or more can.")
        if self.workers > 1 and not self.on_postgres:
            raise BadSettings("--workers: more than one process needs PostgreSQL; give its address as --data.")
        if self.workers > 1 and self.imds:
            raise BadSettings("--imds: its ports are those of one process; serve without --workers.")
        if self.data.startswith(("file:", "sqlite:")):
            raise BadSettings(f"--data: {self.data!r} is a URI; give the name of a SQLite file, or 'memory'.")
        if "://" in self.data and not self.on_postgres:
            scheme, _, _ = self.data.partition("://")
            raise BadSettings(
                f"--data: no ledger can lie at {scheme}://…; give a SQLite file, postgresql://…, or 'memory'."
            )

    @property
    def on_postgres(self) -> bool:
        """Whether the ledger is in PostgreSQL, where other servers may use it too."""
        return self.data.startswith(POSTGRES_SCHEMES)

    @property
    def ledger_name(self) -> str:
        """What the ledger is called in logs and sentences: never with a password."""
        if not self.on_postgres:
            return self.data
        parts = urlsplit(self.data)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def engine(self) -> str:
        """The word for what keeps the ledger."""
        return "postgres" if self.on_postgres else MEMORY if self.data == MEMORY else "sqlite"

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK_HOSTS or self.host.startswith("127.")

    @property
    def needs_no_token(self) -> bool:
        """Whether the control API is open to this machine."""
        return self.auth is Auth.OPEN and self.on_loopback


def profile_named(name: str) -> Profile:
    """The profile of a name. Raises BadSettings where there is none."""
    if name not in PROFILES:
        raise BadSettings(f"--profile: there is no profile {name!r}; {', '.join(PROFILES)} are.")
    return PROFILES[name]


def rates_named(name: str) -> Mapping[str, Rate]:
    """`off`, `aws`, or a TOML file of own figures. Raises BadSettings."""
    if name in _RATES:
        return _RATES[name]
    if not Path(name).exists():
        raise BadSettings(f"--throttle: {name!r} is neither off nor aws, nor a TOML file that is there.")
    try:
        return read_rates(Path(name))
    except BadRates as error:
        raise BadSettings(str(error)) from None


_RATES: Final[Mapping[str, Mapping[str, Rate]]] = {THROTTLE_OFF: {}, THROTTLE_AWS: AWS_RATES}


def admin_token() -> str | None:
    """The bearer token of the control API, from METERHOUSE_ADMIN_TOKEN; None where it is not set or empty."""
    return os.environ.get("METERHOUSE_ADMIN_TOKEN") or None


def environment() -> Mapping[str, str]:
    """The environment, in which the catalog file's `secret_access_key_env` is looked up."""
    return os.environ


def master_key() -> str | None:
    """The master key in base64, from METERHOUSE_MASTER_KEY; None where it is not set or empty."""
    return os.environ.get("METERHOUSE_MASTER_KEY") or None
