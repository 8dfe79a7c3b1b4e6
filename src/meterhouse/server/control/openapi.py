"""The API's description for machines (OpenAPI 3.1), made of the table of calls and of the very structs that are decoded
and encoded: what it says is what happens.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from meterhouse.server.control.parts import ControlCall, NoBody, NoQuery
from meterhouse.server.control.problems import CODES, Problem
from meterhouse.server.control.table import CALLS, ROOT

VERSION: Final = "3.1.0"
OWN_PATH: Final = "/openapi.json"
"""Where the description itself is found, below the API's root."""

_OWN_REFUSALS: Final = (401, 403, 422, 500)
_REF: Final = "#/components/schemas/{name}"
_PAGE_OF: Final = re.compile(rb"Page_(\w+?)(?:Answer)?_")
"""How the library names a page of something."""
_PARAMETER: Final = re.compile(r"{(\w+)}")
_SAID: Final = {
    400: "The body is not JSON.",
    401: "No admin token was given, or none is configured.",
    403: "Not the admin token; without one, a Host or Origin beyond loopback.",
    404: "There is none.",
    405: "The path takes other methods; Allow says which.",
    409: "It exists already, or does not agree with what exists; or the server is no sandbox.",
    413: "The body has a mebibyte or more.",
    415: "The body's Content-Type must be application/json, also without a body.",
    422: "An unknown member or parameter, a wrong type, a bad pattern, or a name of nothing.",
    500: "A bug; it is logged.",
    503: "The ledger is busy, or its disk or database fails; nothing was changed.",
}
_WITH_BODY: Final = ("POST", "PUT", "PATCH")


@lru_cache(maxsize=1)
def description(version: str) -> bytes:
    """The whole document, as JSON."""
    return msgspec.json.encode(document(version))


def document(version: str) -> dict[str, Any]:
    """The whole document."""
    kinds = _kinds()
    found = msgspec.json.encode(msgspec.json.schema_components(kinds, ref_template=_REF))
    schemas, components = msgspec.json.decode(_PAGE_OF.sub(rb"\1Page", found))
    of_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, of_kind)
    paths[OWN_PATH] = {"get": _own_operation(of_kind)}
    return {
        "openapi": VERSION,
        "info": {
            "title": "Meterhouse control API",
            "version": version,
            "description": "Sets up a marketplace and changes it while it runs; reads back what was metered.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ROOT}],
        "security": [{"admin": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "admin": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "METERHOUSE_ADMIN_TOKEN; not needed under `--auth open` on loopback.",
                }
            },
        },
    }


def _kinds() -> list[Any]:
    """Every type that is asked with or answered, once."""
    found: dict[Any, None] = {Problem: None}
    for call in CALLS:
        for kind in (call.body, call.answer, *call.other_answers):
            if kind is not None and kind is not NoBody:
                found[kind] = None
    return list(found)


def _operation(call: ControlCall, of_kind: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.call.__name__,
        "summary": call.says,
        "parameters": [*_path_parameters(call), *_query_parameters(call)],
        "responses": {str(call.status): _success(call, of_kind)},
    }
    if call.method in _WITH_BODY:
        schema = {"type": "object", "additionalProperties": False} if call.body is NoBody else of_kind[call.body]
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    operation["responses"] |= _refusals(statuses_of_refusals(call), of_kind)
    return operation


def _refusals(statuses: Sequence[int], of_kind: dict[Any, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": of_kind[Problem]}}
    return {str(status): {"description": _SAID[status], "content": content} for status in statuses}


def statuses_of_refusals(call: ControlCall) -> Sequence[int]:
    """With which statuses a call can be refused, in order."""
    found = {401, 403, 422, 500, 503, *call.refusals}
    if call.sandbox:
        found.add(409)
    if call.method in _WITH_BODY:
        found |= {400, 413, 415}
    return [status for status in CODES if status in found]


def _success(call: ControlCall, of_kind: dict[Any, Any]) -> dict[str, Any]:
    if call.answer is None:
        return {"description": "Done."}
    schemas = [of_kind[kind] for kind in (call.answer, *call.other_answers)]
    content = {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}
    for content_type in call.also:
        content[content_type] = {"schema": {"type": "string"}}
    return {"description": " ".join(["Done.", *call.also.values()]), "content": content}


def _own_operation(of_kind: dict[Any, Any]) -> dict[str, Any]:
    done = {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "operationId": "describe",
        "summary": "This description.",
        "responses": {"200": done, **_refusals(_OWN_REFUSALS, of_kind)},
    }


def _path_parameters(call: ControlCall) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(call.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": "Percent-encoded; one segment, whatever it holds.",
            "schema": {"type": "string"},
        }


def _query_parameters(call: ControlCall) -> Iterator[dict[str, Any]]:
    if call.query is NoQuery:
        return
    (_,), components = msgspec.json.schema_components([call.query], ref_template=_REF)
    schema = components[call.query.__name__]
    described = inspect.type_info(call.query)
    assert isinstance(described, inspect.StructType), "a query is a struct"
    for field in described.fields:
        form = dict(schema["properties"][field.encode_name])
        if "$ref" in form or "allOf" in form:
            form = _resolved(form, components)
        parameter = {"name": field.encode_name, "in": "query", "required": False}
        if "description" in form:
            parameter["description"] = form.pop("description")
        yield {**parameter, "schema": form}


def _resolved(form: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """A form that refers to another, with that one's members in its place."""
    found = dict(form)
    for reference in (found.pop("$ref", None), *(part.get("$ref") for part in found.pop("allOf", ()))):
        if reference is not None:
            found = {**components[reference.rpartition("/")[2]], **found}
    return found
