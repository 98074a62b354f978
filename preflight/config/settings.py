"""What axolotl_configs/colab_setup.yaml says: the subscription, the GPU that the plan is made for, and where things lie.

The model below is the one description of that file: its JSON schema, which editors use and `make schema` writes, is made from it.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from preflight.config.layers import Config
from preflight.config.schema import find_problems
from preflight.config.tiers import TIERS
from preflight.config.yaml_file import read_yaml
from preflight.files import CONFIGS
from preflight.findings import Finding

SETTINGS = CONFIGS / "colab_setup.yaml"
SETTINGS_SCHEMA = CONFIGS / "schema/colab_setup.json"

NAMES = [tier.name for tier in TIERS]
NUMBER: dict[str, Any] = {"type": "number", "minimum": 0}
Text = Annotated[str, Field(min_length=1)]
Number = Annotated[int | float, Field(ge=0), WithJsonSchema(NUMBER)]
Range = Annotated[list[Number], Field(min_length=2, max_length=2)]
TierName = Annotated[str, WithJsonSchema({"type": "string", "enum": NAMES})]
Rates = Annotated[dict[str, Number], WithJsonSchema({"type": "object", "additionalProperties": False, "properties": dict.fromkeys(NAMES, NUMBER)})]


class Untitled(GenerateJsonSchema):
    """A schema without the titles that pydantic makes of the names, which say nothing more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Part(BaseModel):
    """A mapping of the file: every key has to be there, and no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, title=None)


class Subscription(Part):
    name: Text
    """the plan you pay for"""
    usd_per_month: Number
    """price"""
    compute_units_per_month: Annotated[int | float, Field(gt=0), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
    """units that come with it"""
    gpu_priority: Text
    """as the plan calls it"""
    background_execution: bool
    """whether the tab may be closed"""
    max_hours: Number
    """longest session"""


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


class SessionRules(Part):
    idle_hours: Number
    """hours without a sign of life before the session ends"""
    resume: bool
    """resume from the latest complete checkpoint"""
    save_steps: Annotated[int, Field(ge=1)]
    """most steps between checkpoints"""


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


class Settings(Part):
    """The whole file."""

    project: Text
    """shown at the head of the report"""
    run: Text
    """shown at the head of the report"""
    subscription: Subscription
    compute: Compute
    session: SessionRules
    drive: Drive
    data: Rows

    @property
    def runs_per_month(self) -> list[int] | None:
        """[low, high] runs that a month's units are good for, by the plan's own estimate of one."""
        low, high = self.compute.compute_units_per_run
        units = self.subscription.compute_units_per_month
        return [int(units // high), int(units // low)] if low and high else None


@cache
def settings_schema() -> dict[str, Any]:
    """The JSON schema of the file, as schema/colab_setup.json holds it."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "axolotl_configs/colab_setup.yaml, which only preflight reads"}
    return head | Settings.model_json_schema(schema_generator=Untitled)


def read_settings(path: Path = SETTINGS) -> tuple[Settings | None, list[Finding]]:
    """The settings, complete and of the right types, or None and the findings that say why not."""
    file, findings = read_yaml(path)
    if file is None:
        return None, findings
    findings = [problem.finding for problem in find_problems(Config(file=file, values=file.values), settings_schema(), reader="preflight")]
    return (None if findings else Settings.model_validate(file.values)), findings


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
