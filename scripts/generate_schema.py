"""Write the JSON schemas that editors and preflight use: `.venv/bin/python scripts/generate_schema.py [FOLDER]`.

axolotl.json is that of the pinned Axolotl's config, colab_setup.json that of the kit's own settings (preflight/config/settings.py).
chat_templates.json holds the chat templates that come with the pinned Axolotl, by name.

Axolotl's own `config-schema` command prints Python reprs, because pydantic cannot name an enum of torch dtypes.
Run this after every change of the axolotl pin; preflight and editors read the file it writes and never import Axolotl.

It says what Axolotl's models say, and three things that they only do: a key that no model has is silently ignored, so
here it is an error; text that reads as a number or a truth value is taken for one; some keys are only there to be refused
or renamed (`deprecated`).
"""

import importlib
import json
import logging
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import axolotl.integrations
from axolotl.integrations.base import BasePlugin
from axolotl.utils.chat_templates import _CHAT_TEMPLATES
from axolotl.utils.schemas import deprecated
from axolotl.utils.schemas.config import AxolotlInputConfig
from pydantic import AliasChoices, BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

CHECKOUT = Path(__file__).resolve().parents[1]
OUT = CHECKOUT / "axolotl_configs" / "schema"

# what pydantic takes for a number or a truth value in its lax mode: docs.pydantic.dev, "Conversion Table"; 1_000 is Python's own form
INTEGER = r"^\s*[+-]?\d+(_\d+)*(\.0*)?\s*$"
NUMBER = r"^\s*[+-]?((\d+(_\d+)*)?\.?\d+(_\d+)*\.?([eE][+-]?\d+)?|[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])\s*$"
BOOLEAN = r"^([01]|[tT]([rR][uU][eE])?|[fF]([aA][lL][sS][eE])?|[yY]([eE][sS])?|[nN][oO]?|[oO][nN]|[oO][fF][fF])$"
LAX = {
    "integer": {"type": ["integer", "boolean", "string"], "pattern": INTEGER},
    "number": {"type": ["number", "boolean", "string"], "pattern": NUMBER},
    "boolean": {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, {"type": "string", "pattern": BOOLEAN}]},
}


# validate_config builds the entries of `datasets` as one class, told from `rl`; the keys of other classes are dropped
ROWS = {"DPODataset": ("dpo", "ipo", "simpo"), "KTODataset": ("kto",)}


def rows_of(*names: str) -> dict[str, Any]:
    """The schema of a config whose `datasets` are of these classes."""
    return {"properties": {"datasets": {"items": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}}}}


def method_is(names: Sequence[str]) -> dict[str, Any]:
    return {"properties": {"rl": {"enum": list(names)}}, "required": ["rl"]}


class NamedDtypes(GenerateJsonSchema):
    """An enum whose values JSON can't write (torch dtypes) becomes the enum of its names."""

    def enum_schema(self, schema: Any) -> JsonSchemaValue:
        members: list[Enum] = schema["members"]
        if all(isinstance(member.value, str | int | float | bool) for member in members):
            return super().enum_schema(schema)
        return {"enum": [member.name for member in members], "title": schema["cls"].__name__}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema with every key it takes: Axolotl populates fields by alias and by name."""
    by_alias = model.model_json_schema(schema_generator=NamedDtypes)
    by_name = model.model_json_schema(schema_generator=NamedDtypes, by_alias=False)
    definitions = by_alias.get("$defs", {})
    for name, other in by_name.get("$defs", {}).items():
        if "properties" in other:
            definitions[name]["properties"] = other["properties"] | definitions[name]["properties"]
    return by_alias | {"properties": by_name["properties"] | by_alias["properties"]}


def models(model: type[BaseModel], seen: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """The model and every model that its fields hold, by class name."""
    if model.__name__ not in seen:
        seen[model.__name__] = model
        for field in model.model_fields.values():
            for held in held_models(field.annotation):
                models(held, seen)
    return seen


def held_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from held_models(part)


def add_aliases(properties: dict[str, Any], model: type[BaseModel]) -> None:
    """Every name of a field that has several: pydantic writes only the first of an AliasChoices."""
    for name, field in model.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices) and name in properties:
            properties |= {str(alias): properties[name] for alias in field.validation_alias.choices}


def strict(schema: Any) -> Any:
    """The schema with objects closed, and single values as wide as pydantic takes them."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items() if key not in ("default", "required", "examples")}
    if "properties" in schema:
        closed["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
    if isinstance(schema.get("type"), str) and schema["type"] in LAX and "enum" not in schema and "const" not in schema:
        closed = {key: value for key, value in closed.items() if key != "type"} | LAX[schema["type"]] | {"x-kind": schema["type"]}
    return closed


def refused_and_renamed() -> dict[str, str]:
    """What Axolotl says of each key that it only knows in order to refuse or rename it, asked of Axolotl itself."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    deprecated.LOG.logger.addHandler(handler)
    messages = {}
    for name in deprecated.DeprecatedParameters.model_fields:
        for value in (True, 1, "x"):
            said.clear()
            try:
                deprecated.DeprecatedParameters.model_validate({name: value})
            except DeprecationWarning as refusal:
                said.append(str(refusal))
            except ValueError:
                continue
            if said:
                messages[name] = said[0]
                break
    return messages


def plugins() -> Iterator[tuple[str, type[BaseModel]]]:
    """Each bundled plugin that adds keys of its own: the name a YAML lists, and the model of those keys."""
    for module in pkgutil.iter_modules(axolotl.integrations.__path__, "axolotl.integrations."):
        try:
            package = importlib.import_module(module.name)
        except ImportError as error:
            print(f"left out {module.name}: {error}", file=sys.stderr)  # noqa: T201
            continue
        for name, value in list(vars(package).items()):
            if isinstance(value, type) and issubclass(value, BasePlugin) and value is not BasePlugin:
                plugin = value.__new__(value)  # some constructors look at the machine; get_input_args does not
                if path := plugin.get_input_args():
                    where, _, model = path.rpartition(".")
                    yield f"{module.name}.{name}", getattr(importlib.import_module(where), model)


def generate() -> dict[str, Any]:
    """The whole schema; `x-plugins` lists the keys that each bundled plugin adds."""
    from preflight.training.plugin.args import KitArgs  # not above: `main` makes preflight importable

    schema = schema_of(AxolotlInputConfig)
    known = models(AxolotlInputConfig, {})
    by_plugin: dict[str, list[str]] = {}
    for name, model in plugins():
        added = schema_of(model)
        by_plugin[name] = sorted(added["properties"].keys() - schema["properties"].keys() | set(by_plugin.get(name, ())))
        schema["properties"] |= added["properties"]
        schema["$defs"] |= added.get("$defs", {})
        models(model, known)
    schema["properties"] |= schema_of(KitArgs)["properties"]  # preflight lists the kit's plugin itself
    for name, definition in schema["$defs"].items():
        if name in known and "properties" in definition:
            add_aliases(definition["properties"], known[name])
    fsdp = schema["$defs"]["FSDPConfig"]["properties"]  # Axolotl strips the prefix before it validates
    fsdp |= {
        f"fsdp_{key}": value | {"deprecated": True, "description": f"Deprecated: write {key}"}
        for key, value in fsdp.items()
        if key not in ("fsdp_version", "version")
    }
    schema["properties"]["learning_rate"] = {"type": "number"}  # its validator reads text as a number, or fails
    for key in ("message_field_role", "message_field_content"):
        schema["$defs"]["SFTDataset"]["properties"][key] |= {"deprecated": True, "description": "Deprecated: use message_property_mappings"}
    for key, field in AxolotlInputConfig.model_fields.items():
        if isinstance(field.deprecated, str):
            schema["properties"][key]["description"] = field.deprecated
    for key, message in refused_and_renamed().items():
        schema["properties"][key] |= {"deprecated": True, "description": message}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"generated by scripts/generate_schema.py from axolotl {version('axolotl')}",
    }
    schema["properties"]["datasets"]["anyOf"][0]["items"] = {}
    methods = [method for names in ROWS.values() for method in names]
    conditions = [{"if": method_is(names), "then": rows_of(model)} for model, names in ROWS.items()]
    conditions += [{"if": method_is(methods), "else": rows_of("SFTDataset", "SyntheticDataset")}]
    return head | strict(schema) | {"allOf": conditions, "x-plugins": by_plugin}


def main() -> None:
    sys.path.insert(0, str(CHECKOUT))
    from preflight.config.settings import make_schema

    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.mkdir(parents=True, exist_ok=True)
    (out / "axolotl.json").write_text(json.dumps(generate(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (out / "colab_setup.json").write_text(json.dumps(make_schema(), indent=1) + "\n", encoding="utf-8")
    (out / "chat_templates.json").write_text(json.dumps(dict(_CHAT_TEMPLATES), indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
