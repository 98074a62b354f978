"""The base model: its shape, whether it is here, and whether the Hugging Face hub would give it, before a GPU waits for a download."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from preflight.files import MALFORMED
from preflight.findings import Finding
from preflight.machine.platforms.base import Platform

# Mistral 7B v0.1 and v0.2, instruct and quantised copies among them: one shape, and the tokenizer that mistral_common ships as v1
MISTRAL_V1 = re.compile(r"mistral-7b(-instruct)?(-v0\.[12])?(-bnb-4bit)?$", re.I)
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin.index.json", "pytorch_model.bin")
TOKEN = "HF_TOKEN"  # noqa: S105  # the name of the variable, and of the secret


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The widths of a decoder's linear layers, as in its config.json."""

    layers: int
    hidden: int
    intermediate: int
    key_value: int
    vocabulary: int = 32_000
    tied: bool = False  # whether the output layer is the embeddings

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers, which a token is multiplied with."""
        return self.layers * self.hidden * (2 * self.hidden + 2 * self.key_value + 3 * self.intermediate)

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embeddings and of the output layer."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def widths_sum(self) -> int:
        """Values that the layers keep of a token, up to a factor: what activation memory grows with."""
        return self.layers * (4 * self.hidden + 3 * self.intermediate)


MISTRAL_7B = ModelShape(layers=32, hidden=4096, intermediate=14336, key_value=1024)  # its config.json


def cached(base_model: str, name: str) -> str | None:
    """Where a file of the model lies in the hub's cache, or None where it does not, or the name can be no model's."""
    from huggingface_hub import try_to_load_from_cache

    try:
        path = try_to_load_from_cache(base_model, name)
    except ValueError:  # HFValidationError
        return None
    return path if isinstance(path, str) else None


def find_file(base_model: str, name: str) -> Path | None:
    """Where a file of the model is here: in its folder, or in the hub's cache."""
    if not base_model:
        return None
    path = Path(base_model, name)
    if not path.is_file() and base_model.count("/") <= 1 and not Path(base_model).is_dir():
        found = cached(base_model, name)
        path = Path(found) if found else path
    return path if path.is_file() else None


def find_shape(base_model: str) -> ModelShape | None:
    """The shape of a model whose config.json is here, or of Mistral-7B; None for any other, and for a mixture of experts."""
    path = find_file(base_model, "config.json")
    if path is None:
        return MISTRAL_7B if MISTRAL_V1.search(base_model) else None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if any("expert" in key for key in values):  # intermediate_size is one expert's
            return None
        hidden, heads = int(values["hidden_size"]), int(values["num_attention_heads"])
        head = int(values.get("head_dim") or hidden // heads)
        return ModelShape(
            layers=int(values["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(values["intermediate_size"]),
            key_value=head * int(values.get("num_key_value_heads") or heads),
            vocabulary=int(values.get("vocab_size") or 32_000),
            tied=bool(values.get("tie_word_embeddings")),
        )
    except (OSError, *MALFORMED, ZeroDivisionError):
        return None


def is_missing(base_model: str) -> bool:
    """Whether base_model is a path, by its form or because its first folder is there, and no model is at its end."""
    if not base_model or Path(base_model, "config.json").is_file():
        return False
    return base_model.startswith((".", "/", "~")) or base_model.count("/") > 1 or Path(base_model.partition("/")[0]).is_dir()


@dataclass(frozen=True, kw_only=True)
class HubReading:
    """What the hub said of a model: `there`, `gated`, `bad-token`, `not-found`, `offline`, or `error`. Never the token itself."""

    model: str
    said: str
    has_token: bool
    reason: str = ""


def inspect_hub(base_model: str) -> HubReading | None:
    """Ask the hub with its own client; None for a model that is on this machine already."""
    if not base_model or Path(base_model).exists() or base_model.startswith((".", "/", "~")) or base_model.count("/") > 1:
        return None
    from huggingface_hub import auth_check, constants, get_token
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if any(cached(base_model, name) for name in WEIGHTS):
        return None
    has_token = bool(get_token())

    def said(what: str, reason: str = "") -> HubReading:
        return HubReading(model=base_model, said=what, has_token=has_token, reason=reason)

    if constants.HF_HUB_OFFLINE:
        return said("offline", "HF_HUB_OFFLINE is set, and the model is not in the cache")
    try:
        auth_check(base_model)
    except GatedRepoError:
        return said("gated")
    except RepositoryNotFoundError as error:
        status = error.response.status_code if error.response is not None else 404
        return said("bad-token" if status == 401 and has_token else "not-found")
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        return said("bad-token" if status == 401 and has_token else "error", f"the hub answers {status}")
    except ValueError as error:  # a name that can be no model's
        return said("not-found", str(error))
    except Exception as error:  # the client passes on what its transport raises: httpx.ConnectError, TimeoutException, OSError
        return said("offline", str(error) or type(error).__name__)
    return said("there")


def check_hub(reading: HubReading | None, platform: Platform, where: str) -> list[Finding]:
    """`hub.*` where the model can't be fetched, and how to fix that."""
    if reading is None or reading.said == "there":
        return []
    name = reading.model
    page = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{name}"
    copy, add_token = "; or take a copy that asks for nothing: --set base_model=unsloth/mistral-7b", platform.secret_fix(TOKEN)
    match reading.said:
        case "gated" if reading.has_token:
            code, message = "hub.gated", f"{name} is gated, and this token's account has not accepted its terms"
            fix = f"accept them at {page}{copy}"
        case "gated":
            code, message = "hub.no-token", f"{name} is gated: its terms have to be accepted, and there is no token"
            fix = f"{add_token}{copy}"
        case "bad-token":
            code, message, fix = "hub.bad-token", "the hub rejects the token in HF_TOKEN: it was revoked, or cut when it was copied", add_token
        case "not-found":
            code, message = (
                "hub.not-found",
                f"the hub has no model {name}" + ("" if reading.has_token else ", or it is private and there is no token"),
            )
            fix = "check the spelling: base_model: mistralai/Mistral-7B-v0.1"
        case _:
            code, message = "hub.offline", f"{name} can't be fetched: {reading.reason}"
            fix = "check the network; or name a folder that holds the model: base_model: DIR"
    return [Finding(code=code, level="error", where=where, message=message, fix=fix)]
