"""Meterhouse: the AWS Marketplace Metering Service as open software.

The names below are the package's whole public face. Each is imported when it is first asked for, so that
``import meterhouse`` costs next to nothing and a client never loads the server.

A new public name is one row of ``_HOMES``, one name in ``__all__`` and one import under TYPE_CHECKING;
``tests/unit/test_public_names.py`` holds the three together.
"""

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "__version__",
]

_HOMES: dict[str, str] = {}
"""Where each lazily imported public name lives: name, module. Sorted by name."""


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value  # asked once: the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
