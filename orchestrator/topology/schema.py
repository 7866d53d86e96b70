"""The JSON Schema (draft 7) of a topology file, made of the descriptions of its keys. Pure.

Editors complete and check with it. It accepts what `orchestrator validate` accepts, and cannot say what goes beyond
one value: names that refer to each other, addresses inside their network, files that exist. Tables of the file itself
must be complete; those of a variant need not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.log_patterns import LOG_PATTERNS, waivable
from orchestrator.topology.check_kind import CHECK_KINDS, CHECKS_TABLE
from orchestrator.topology.fault_kind import FAULT_KINDS, FAULTS_TABLE
from orchestrator.topology.image_source import IMAGE_SOURCES, IMAGES_TABLE
from orchestrator.topology.keys import FIXED_KEYS, Key
from orchestrator.topology.kinds import Kind, all_keys, owners
from orchestrator.topology.values import NAME
from orchestrator.topology.variants import ABSENT, FIXED, REMOVABLE

DRAFT = "http://json-schema.org/draft-07/schema#"
CHANGES = "changes."  # before the name of a table as variants have it
WAIVERS_TABLE = "waivers"

Definition = dict[str, Any]


def every_key(*, own: bool = False) -> Mapping[str, Mapping[str, Key]]:
    """The keys of each table, in the order of the documentation.

    Args:
        own: without what other installed packages add.
    """
    kinds = _kinds(own=own)
    return {pattern: all_keys(pattern, kinds.get(pattern, {})) for pattern in FIXED_KEYS}


def json_schema(*, own: bool = False) -> Definition:
    """The schema as JSON-ready data; ``own`` as in `every_key`."""
    keys, kinds = every_key(own=own), _kinds(own=own)
    definitions: Definition = {"name": {"type": "string", "pattern": f"^{NAME.pattern}$"}}
    for pattern, table in keys.items():
        definitions[pattern] = table_schema(table) | (_of_kinds(pattern, kinds[pattern]) if pattern in kinds else {})
        definitions[CHANGES + pattern] = _change(pattern, table_schema(table))
    patterns = [pattern.name for pattern in LOG_PATTERNS if pattern.name in waivable()] if own else list(waivable())
    for prefix in ("", CHANGES):
        _properties(definitions[prefix + WAIVERS_TABLE])["pattern"] |= {"enum": patterns}
    file = definitions.pop("")
    definitions["variants.NAME"] = _variant(definitions.pop(CHANGES))
    return {
        "$schema": DRAFT,
        "title": "orchestrator topology",
        "description": "Machines, networks and services of an environment, and when each service counts as up.",
        **file,
        "definitions": definitions,
    }


def _kinds(*, own: bool) -> Mapping[str, Mapping[str, type[Kind]]]:
    """The kinds that bring keys, by the table they bring them to."""
    if own:
        return {CHECKS_TABLE: CHECK_KINDS.own(), IMAGES_TABLE: IMAGE_SOURCES.own(), FAULTS_TABLE: FAULT_KINDS.own()}
    return {CHECKS_TABLE: CHECK_KINDS.every(), IMAGES_TABLE: IMAGE_SOURCES.every(), FAULTS_TABLE: FAULT_KINDS.every()}


def table_schema(keys: Mapping[str, Key]) -> Definition:
    """The schema of a table of these keys."""
    required = [name for name, key in keys.items() if key.required]
    found: Definition = {
        "type": "object",
        "properties": {name: _property(key) for name, key in keys.items()},
        "additionalProperties": False,
    }
    return found | ({"required": required} if required else {})


def _property(key: Key) -> Definition:
    schema = dict(key.type.schema)
    if "$ref" in schema:  # nothing next to a reference counts
        schema = {"allOf": [schema]}
    return {**schema, "description": key.meaning}


def _of_kinds(pattern: str, kinds: Mapping[str, type[Kind]]) -> Definition:
    """A check or fault is of one kind and has no keys of another; an image has one source or more."""
    if pattern == FAULTS_TABLE:
        return _of_named_kinds(pattern, kinds)
    if pattern == IMAGES_TABLE:
        keys = [key for kind in kinds.values() for key in kind.own_keys()]
        return {"required": [], "anyOf": [{"required": [key]} for key in keys]}
    needs: Definition = {}
    for kind in kinds.values():
        for key, described in kind.own_keys().items():
            if key != kind.kind:
                if described.required:
                    needs.setdefault(kind.kind, []).append(key)
                names = [{"required": [owner]} for owner in owners(key, kinds)]
                needs[key] = names[0] if len(names) == 1 else {"anyOf": names}
    return {"required": [], "oneOf": [{"required": [name]} for name in kinds], "dependencies": needs}


def _of_named_kinds(pattern: str, kinds: Mapping[str, type[Kind]]) -> Definition:
    """The kind stands under the key ``kind``."""
    fixed = FIXED_KEYS[pattern]
    rules = []
    for name, kind in kinds.items():
        keys = kind.own_keys()
        then: Definition = {"propertyNames": {"enum": [*fixed, *keys]}}
        if needed := [key for key, described in keys.items() if described.required]:
            then["required"] = needed
        rules.append({"if": {"properties": {"kind": {"const": name}}}, "then": then})
    return {"required": [key for key, described in fixed.items() if described.required], "allOf": rules}


def _change(pattern: str, definition: Definition) -> Definition:
    """A table as a variant may have it: nothing is required, some things may be absent."""
    definition.pop("required", None)
    places = {".".join("NAME" if part == "*" else part for part in path) for path in REMOVABLE}
    changed: Definition = _referring_to_changes(definition)
    for key, schema in changed["properties"].items():
        if (f"{pattern}.{key}" if pattern else key) in places:  # of one key, as `suite`
            meaning = schema.pop("description")
            changed["properties"][key] = {"anyOf": [{"const": ABSENT}, schema], "description": meaning}
    whole = pattern.endswith(".NAME") and pattern in places  # one of several, as `machines.NAME`
    return {"anyOf": [{"const": ABSENT}, changed]} if whole else changed


def _variant(definition: Definition) -> Definition:
    for key in FIXED:
        definition["properties"].pop(key)
    return definition


def _properties(definition: Definition) -> Definition:
    properties: Definition = definition["properties"]
    return properties


def _referring_to_changes(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str) and not reference.endswith("/name"):
            return {"$ref": reference.replace("#/definitions/", f"#/definitions/{CHANGES}")}
        return {key: _referring_to_changes(value) for key, value in schema.items()}
    return [_referring_to_changes(value) for value in schema] if isinstance(schema, list) else schema
