"""Whether the base model can be fetched from the Hugging Face hub: what is told before a GPU waits for a download that is refused."""

import os
from dataclasses import dataclass
from pathlib import Path

from preflight.findings import Finding

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin.index.json", "pytorch_model.bin")
ADD_IT = "in Colab: the key symbol on the left, add a secret HF_TOKEN, switch its notebook access on, run setup_colab_environment() again"


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
    from huggingface_hub import auth_check, constants, get_token, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if any(isinstance(try_to_load_from_cache(base_model, name), str) for name in WEIGHTS):
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


def check_hub(reading: HubReading | None, where: str) -> list[Finding]:
    """`hub.*` where the model can't be fetched, and what mends that."""
    if reading is None or reading.said == "there":
        return []
    name = reading.model
    page = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{name}"
    copy = "; or take a copy that asks for nothing: --set base_model=unsloth/mistral-7b"
    match reading.said:
        case "gated" if reading.has_token:
            code, message = "hub.gated", f"{name} is only given to who has accepted its terms, and the owner of this token has not"
            fix = f"accept them at {page}{copy}"
        case "gated":
            code, message = "hub.no-token", f"{name} is only given to who has accepted its terms, and there is no token to tell who asks"
            fix = f"{ADD_IT}{copy}"
        case "bad-token":
            code, message, fix = "hub.bad-token", "the hub does not know the token in HF_TOKEN: it was revoked, or cut when it was copied", ADD_IT
        case "not-found":
            code, message = (
                "hub.not-found",
                f"the hub has no model {name}" + ("" if reading.has_token else ", or it is private and there is no token"),
            )
            fix = "see how it is spelt: base_model: mistralai/Mistral-7B-v0.1"
        case _:
            code, message = "hub.offline", f"{name} can't be fetched: {reading.reason}"
            fix = "check the network; or name a folder that holds the model: base_model: DIR"
    return [Finding(code=code, level="error", where=where, message=message, fix=fix)]
