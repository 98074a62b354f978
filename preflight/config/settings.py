"""What axolotl_configs/colab_setup.yaml says: the subscription, the GPU that the plan is made for, and where things lie.

The records below are the one description of that file: its JSON schema, which editors and preflight use, is made from them by
`make schema`. By pydantic, which is not needed otherwise: its import would be a sixth of what a preflight takes to start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from preflight.config.layers import Config
from preflight.config.rates import read_rates
from preflight.config.schema import find_problems, read_schema
from preflight.config.secrets import check_secrets, masked
from preflight.config.tiers import TIERS
from preflight.config.yaml_file import read_yaml
from preflight.files import CONFIGS
from preflight.findings import Finding

SETTINGS = CONFIGS / "colab_setup.yaml"
SETTINGS_SCHEMA = CONFIGS / "schema/colab_setup.json"


class Takes:
    """What a value may be, as JSON schema: in the place of what its type alone says."""

    def __init__(self, **schema: Any) -> None:
        self.schema = schema

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """How pydantic asks for it."""
        return self.schema


class Unwritten:
    """A value that is not the file's: its schema does not know it."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """How pydantic asks for it."""
        from pydantic_core import PydanticOmit

        raise PydanticOmit


NAMES = [tier.name for tier in TIERS]
NUMBER: dict[str, Any] = {"type": "number", "minimum": 0}
Text = Annotated[str, Takes(minLength=1, type="string")]
Number = Annotated[int | float, Takes(**NUMBER)]
Positive = Annotated[int | float, Takes(type="number", exclusiveMinimum=0)]
Share = Annotated[int | float, Takes(type="number", minimum=0, maximum=1)]
Count = Annotated[int, Takes(minimum=1, type="integer")]
Range = Annotated[list[int | float], Takes(items=NUMBER, maxItems=2, minItems=2, type="array")]
Gpus = Annotated[list[str], Takes(type="array", items={"enum": ["A100", "H100", "G4", "L4", "T4"]}, minItems=1)]
TierName = Annotated[str, Takes(type="string", enum=NAMES)]
Rates = Annotated[dict[str, int | float], Takes(type="object", additionalProperties=False, properties=dict.fromkeys(NAMES, NUMBER))]


class Part:
    """A mapping of the file: every key without a default has to be there, and no other."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, kw_only=True)
class Subscription(Part):
    name: Text
    """the plan you pay for"""
    usd_per_month: Number
    """price"""
    compute_units_per_month: Positive
    """units that come with it"""
    gpu_priority: Text
    """as the plan calls it"""
    background_execution: bool
    """whether the tab may be closed"""
    max_hours: Number
    """longest session"""


@dataclass(frozen=True, kw_only=True)
class Compute(Part):
    expected_gpu: TierName
    """the tier that the plan is made for"""
    fallback_gpu: TierName
    """the tier that the plan falls back to"""
    hours_per_run: Range
    """low and high"""
    compute_units_per_run: Range
    """low and high"""
    gcp_usd_per_run: Range
    """low and high, of the same run on an A100 of Google Cloud"""
    compute_units_per_hour: Rates
    """by tier; leave out what is not known"""
    measured: Annotated[Mapping[str, str], Unwritten()] = field(default_factory=dict)
    """by tier: the day on which this account's rate was read, which stands in the place of the file's"""


@dataclass(frozen=True, kw_only=True)
class Remote(Part):
    gpus: Gpus
    """in order of preference, as `colab new --gpu` calls them"""


@dataclass(frozen=True, kw_only=True)
class SessionRules(Part):
    idle_hours: Number
    """hours without a sign of life before the session ends"""
    resume: bool
    """resume from the latest complete checkpoint"""
    save_steps: Count
    """most steps between checkpoints"""


@dataclass(frozen=True, kw_only=True)
class Drive(Part):
    mount: Text
    """mount point of Google Drive"""
    models: Text
    """folder of the results"""
    logs: Text
    """folder of the logs"""
    tensorboard: Text
    """folder of the TensorBoard events"""
    backup: bool
    """whether results belong on Drive"""


@dataclass(frozen=True, kw_only=True)
class Rows(Part):
    source: Literal["drive", "wget"]
    """where rows come from"""
    drive_folder: Text
    """folder of your rows"""
    folder: Text
    """where they are staged"""
    test_file: str
    """name of the file of test rows; empty for none"""
    disk_gb: Number
    """local disk that the plan expects"""
    sql_fails_warning: Share
    """share of answers that don't run on their prompt's tables, above which preflight warns"""
    sql_fails_error: Share
    """share above which preflight refuses the rows"""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Part):
    choose_by: Literal["executed", "loss"] = "executed"
    """which of the kept checkpoints a run ends with: the one with the most answers right when run, or what training left"""


@dataclass(frozen=True, kw_only=True)
class Settings(Part):
    """The whole file."""

    project: Text
    """shown at the head of the report"""
    run: Text
    """shown at the head of the report"""
    subscription: Subscription
    compute: Compute
    remote: Remote
    session: SessionRules
    drive: Drive
    data: Rows
    evaluation: Evaluation = field(default_factory=Evaluation)

    @property
    def runs_per_month(self) -> list[int] | None:
        """[low, high] runs that a month's units are good for, by the plan's own estimate of one."""
        low, high = self.compute.compute_units_per_run
        units = self.subscription.compute_units_per_month
        return [int(units // high), int(units // low)] if low and high else None


def make_schema() -> dict[str, Any]:
    """The JSON schema of the file, for schema/colab_setup.json."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        """Without the titles that pydantic makes of the names, which say nothing more."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "axolotl_configs/colab_setup.yaml, which only preflight reads"}
    return head | TypeAdapter(Settings).json_schema(schema_generator=Untitled)


def read_settings(path: Path = SETTINGS) -> tuple[Settings | None, list[Finding]]:
    """The settings, complete and of the right types, or None and the findings that say why not."""
    file, findings = read_yaml(path)
    if file is None:
        return None, findings
    findings = check_secrets(file.values, file.where)
    values = masked(file.values)
    findings += [problem.finding for problem in find_problems(Config(file=file, values=values), read_schema(SETTINGS_SCHEMA), reader="preflight")]
    return (None if findings else build(Settings, values)), findings


def build(kind: Any, values: Any) -> Any:
    """A record of this kind with these values, which the schema has accepted."""
    given = [part for part in fields(kind) if part.name in values]  # the rest has defaults: a file that is older than they are
    return kind(**{part.name: build(part.type, values[part.name]) if is_dataclass(part.type) else values[part.name] for part in given})


def of_account(settings: Settings, folder: Path) -> Settings:
    """The settings with the units an hour that runs of `make colab` have read and kept in this folder, in the place of the file's."""
    seen = read_rates(folder)
    rates = settings.compute.compute_units_per_hour | {tier: rate.per_hour for tier, rate in seen.items()}
    measured = {tier: rate.read for tier, rate in seen.items()}
    return replace(settings, compute=replace(settings.compute, compute_units_per_hour=rates, measured=measured))


def check_settings(settings: Settings, config: Config) -> list[Finding]:
    """Where the config goes against the settings: results that don't end up on Drive, checkpoints too far apart."""
    if not config.needs_gpu:
        return []
    findings = []
    output, models = str(config.values.get("output_dir") or ""), settings.drive.models
    if settings.drive.backup and not Path(output).is_relative_to(models):
        message = f"output_dir {output} is not below {models}, where colab_setup.yaml wants results to end up"
        findings.append(
            Finding(code="drive.elsewhere", level="warning", where=config.where("output_dir"), message=message, fix=f"output_dir: {models}")
        )
    save, most = config.values.get("save_steps"), settings.session.save_steps
    if isinstance(save, int) and save > most:
        message = f"save_steps {save}: a disconnect loses up to {save} steps, more than the {most} of colab_setup.yaml"
        findings.append(
            Finding(code="config.saves-rarely", level="warning", where=config.where("save_steps"), message=message, fix=f"save_steps: {most}")
        )
    return findings
