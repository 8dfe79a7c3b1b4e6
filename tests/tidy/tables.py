"""The tables of the house's taste. A rule is extended here; each exception carries its reason."""

import re

ANYTHING = None
MAY_IMPORT: dict[str, tuple[str, ...] | None] = {
    # A folder of the package, and the folders or modules of ours that it may import beside itself.
    "core": (),
    "wire": ("core",),
    "ledger": ("core",),
    "service": ("core", "ledger.protocol"),
    "server": ("core", "wire", "service", "ledger", "reports"),
    "client": ("core", "wire"),
    "recorder": ("core", "client"),
    "reports": ("core", "ledger.protocol"),
    "demo": (),  # it knows Meterhouse as strangers do, by its sockets
    "testing": ANYTHING,
    "cli": ANYTHING,
    "__main__": ("cli",),
    "__init__": ANYTHING,  # it imports late, name by name
}

PURE = (
    "core/",
    "wire/",
    "client/answers.py",
    "client/batch.py",
    "client/checking.py",
    "client/endpoints.py",
    "client/flow.py",
    "client/operations.py",
    "client/outcomes.py",
    "client/parcels.py",
    "client/records.py",
    "client/settings.py",
    "client/signing.py",
    "client/waves.py",
    "client/wording.py",
    "recorder/outbox.py",
)
"""No clock, random, socket, file, SQL or log: what these need of the world is an argument."""

NOT_IN_PURE = {
    "asyncio",
    "concurrent",
    "http",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
"""Modules of Python that reach outside. Of other libraries, the pure part may import msgspec alone."""

EXTRAS_LIVE_IN: dict[str, tuple[str, ...]] = {
    # A library of an extra, and the only modules that may import it as they load: nobody imports those without need.
    "asyncpg": ("ledger/postgres.py", "ledger/postgres_connections.py"),
    "boto3": ("demo/seller.py",),
    "botocore": ("demo/seller.py",),
    "opentelemetry": (),
}

IMPORTED_AS = {"opentelemetry-api": "opentelemetry", "prometheus-client": "prometheus_client", "pyjwt": "jwt"}
"""Distributions whose import name differs."""

UNDECLARED: dict[str, tuple[str, ...]] = {
    # A library that the package does not ask for, and who may import it all the same.
    "pytest": ("testing/",),  # whoever uses the plugin has it
}

ASKS = {
    "the wall clock": [
        "time.time",
        "time.time_ns",
        "time.localtime",
        "time.gmtime",
        "time.ctime",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
    ],
    "randomness": ["random", "secrets", "os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4"],
    "the environment": ["os.environ", "os.environb", "os.getenv"],
}
"""What is asked of the world, and by which names; a name stands for all that is under it too."""

MAY_ASK: dict[str, dict[str, str]] = {
    # A module or folder, and what it may ask of the world, with the reason.
    "cli/": {
        "the wall clock": "a person's `now`",
        "the environment": "METERHOUSE_… flags",
        "randomness": "keys that are made for a person",
    },
    "client/client.py": {
        "the wall clock": "the date of a signature",
        "the environment": "AWS_… settings",
        "randomness": "the spread of waits, and the ids of calls",
    },
    "recorder/recorder.py": {"the wall clock": "when usage was noted", "randomness": "identities of what is sent"},
    "server/app.py": {"the wall clock": "when a request came", "randomness": "request and record ids"},
    "server/chance.py": {"randomness": "the ids that app.py hands on, drawn in bulk"},
    "server/serving.py": {"randomness": "what the parts that it joins take as an argument"},
    "server/settings.py": {"the environment": "METERHOUSE_… flags"},
}

BANNED_CALLS = {
    "time.sleep": "wait for the thing itself, or set a timer to an instant",
    "uuid.uuid4": "ids are taken in bulk from os.urandom, at the edge",
    "logging.getLogger": "structlog.get_logger",
    "asyncio.get_event_loop": "asyncio.get_running_loop",
    "datetime.datetime.utcnow": "datetime.now(UTC), at the edge",
}
"""In src: a name, and what to use in its place."""

BANNED_IN_TESTS = {
    "time.sleep": "wait for the thing itself",
    "pytest.skip": "a test runs or goes",
    "pytest.importorskip": "a test's needs are in the lock",
    "pytest.mark.skip": "a test runs or goes",
    "pytest.mark.skipif": "a test runs or goes",
    "pytest.mark.xfail": "mend it, or say in the docs that it is so",
}

BANNED_WORDS = {
    "acct": "account",
    "amt": "quantity",
    "backend": "engine",
    "base": "say what it is the base of",
    "cfg": "settings",
    "common": "the noun it is about",
    "ctx": "context, or what it is the context of",
    "cust": "customer",
    "data": "body, text, bytes, rows: say which",
    "dim": "dimension",
    "duplicate": "replayed, or conflicted",
    "event": "usage record",
    "handle": "the verb itself",
    "helper": "the noun it is about",
    "idx": "index",
    "info": "say what is known",
    "item": "record, entry, row: say which",
    "manager": "what it does",
    "misc": "the noun it is about",
    "msg": "message",
    "num": "number, or count",
    "obj": "say what it is",
    "process": "say what is done",
    "qty": "quantity",
    "repository": "engine",
    "req": "request",
    "resp": "response",
    "store": "engine, or keep",
    "tmp": "say what it is for",
    "ts": "timestamp",
    "util": "the noun it is about",
    "utils": "the noun it is about",
    "val": "value",
}
"""Words that no name of ours has in it, and what to say instead (docs/words.md says why)."""

ALLOWED_NAMES: dict[str, dict[str, str]] = {
    # A name with such a word, and where it may stand, with the reason.
    "INFO": {"server/log.py": "the level's name in every log"},
    "info": {"server/log.py": "the same, as structlog calls it"},
    "msg": {"server/log.py": "structlog's name for the method that writes a line"},
    "data": {
        "cli/": "the flag --data",
        "server/http.py": "asyncio.Protocol calls it so",
        "server/settings.py": "the flag --data",
    },
    "data_received": {"server/": "asyncio.Protocol's"},
    "store": {"recorder/": "recorder/store.py keeps what was noted, in one file: no engine of the ledger"},
}

ALLOWED_PHRASES = ("duplicate_record", "duplicate_request")
"""AWS's own words, in whatever spelling."""

LONGEST_MODULE = 500
LONGER: dict[str, str] = {}
"""Modules that are longer, with the reason."""

NOT_OURS = re.compile(r"\.lock$|(?:^|/)package-lock\.json$|^LICENSE$|^tests/strangers/[^/]*\.txt$|^tests/vectors/")
"""Files whose words are not ours: made by tools, or evidence of what others said."""

# None of these patterns matches itself as it stands here.
LEFT_BEHIND = re.compile(
    r"\bT[O]DO\b|\bFIX[M]E\b|\bX[X]X\b|\bHA[C]K\b|\bbreak[p]oint\(|\bp[d]b\b|^(?:<{7}|>{7})\s", re.MULTILINE
)
SWITCHED_OFF = re.compile(
    r"#\s*(?:n[o]qa\b(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?|type:\s*i[g]nore\b(?:\[[\w, -]*\])?)"
    r"(?P<reason>\W+\w+\W+\w+)?"  # at least two words of it
)
MACHINE_PATHS = re.compile(r"(?<![\w.:/])/(?:root|home|Users|work|workspace)/[\w.]|/opt/(?:pypi|wheels)")
INDEX_HOSTS = re.compile(
    r"p[y]pi\.org/simple|python[h]osted\.org|registry\.n[p]mjs|--(?:extra-)?index-[u]rl|--find-[l]inks"
)
