"""Secrets where none belongs: what in a config is a password, key or token, and the config without it. Standard library only: manifests
are read without their secrets too, which earlier versions of the kit have copied into them."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from preflight.findings import Finding

MASK = "***"
# of keys that hold a secret, the last words
ENDINGS = frozenset(
    """password passwd passphrase secret secrets credential credentials apikey apikeys bearer authorization
    api_key api_keys access_key access_keys secret_key private_key auth_key signing_key encryption_key auth_token access_token api_token
    bearer_token refresh_token session_token hub_token hf_token github_token wandb_token wandb_key webhook_url""".split()
)
# keys that sound like it and are none: Axolotl's own, and comet's name of an experiment
PLAIN = frozenset(
    """comet_experiment_key experiment_key template_thinking_key hf_use_auth_token use_auth_token
    bos_token eos_token pad_token unk_token sep_token cls_token mask_token image_token""".split()
)
# mappings whose keys are words of the rows or of the tokenizer; there only a value that looks like a secret is one
OF_ROWS = frozenset("message_property_mappings roles special_tokens added_tokens_overrides chat_template_kwargs".split())
# what tokens of well-known services look like, wherever they stand
SHAPES = re.compile(
    r"""(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|wandb_v1_\w{20,}
    |sk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_]{20,}|xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{35}
    |eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}|-----BEGIN[A-Z ]*PRIVATE\ KEY-----.*)""",
    re.VERBOSE | re.DOTALL,
)
USER = re.compile(r"(?<=://)(?:[^\s/?#]*:[^\s/?#]*|[^\s/?#@]{16,})@")  # https://user:password@host, https://token@host
QUERY = re.compile(
    r"(?i)(?<=[?&])((?:access_|auth_|api_)?token|api_?key|password|secret|sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token))=(?!\*{3})[^&\s#]+"
)
VARIABLES = {  # the start of a key -> the variable that the program behind it reads
    "comet": "COMET_API_KEY",
    "swanlab_api": "SWANLAB_API_KEY",
    "wandb": "WANDB_API_KEY",
    "mlflow": "MLFLOW_TRACKING_PASSWORD",
    "hub": "HF_TOKEN",
    "hf": "HF_TOKEN",
    "huggingface": "HF_TOKEN",
    "token": "HF_TOKEN",
    "hatchery.api": "TINKER_API_KEY, or HATCHERY_API_KEY for its own backend",
    "aws_secret": "AWS_SECRET_ACCESS_KEY",
    "github": "GITHUB_TOKEN",
}


def check_secrets(values: Any, where: Callable[[str], str]) -> list[Finding]:
    """`config.secret` for each secret in a config, with the variable to give it by. The value is in no finding."""
    findings = []
    for path, value in _secrets(values):
        key = ".".join(map(str, path))
        name = _variable(path, value)
        if "://" in str(value) and _has_shape(value):
            fix = "write the address without it; a file that needs it: fetch it yourself, and give its path"
        elif name:
            fix = f"delete it, and give it as a variable: export {name}=..., on Colab from a secret"
        else:
            fix = "delete it; no program behind this key reads it from a variable"
        message = f"{key} holds a secret, which would be copied into the resolved YAML, to Drive and into reports"
        renew = "; then make a new one, since a file has held this one"
        findings.append(Finding(code="config.secret", level="error", where=where(key), message=message, fix=fix + renew))
    return findings


def masked(values: Any) -> Any:
    """A copy in which a mask stands for each secret, for whatever is shown."""
    found = copy.deepcopy(values)
    for path, value in _secrets(values):
        _at(found, path[:-1])[path[-1]] = _masked(str(value), MASK) if _has_shape(value) else MASK
    return found


def without_secrets(values: Any) -> Any:
    """A copy without them: what two configs are compared by, since a new password makes no other experiment."""
    found = copy.deepcopy(values)
    for path, value in reversed(list(_secrets(values))):  # from the end, so that a list's other places stay
        bare = _masked(str(value), "")
        if _has_shape(value) and bare:
            _at(found, path[:-1])[path[-1]] = bare
        else:
            del _at(found, path[:-1])[path[-1]]
    return found


def masked_text(text: str) -> str:
    """A text, such as an address or KEY=VALUE of a command line, as it may be shown."""
    key, equals, value = text.partition("=")
    path = key.strip().removeprefix("--").replace("-", "_").split(".")
    return f"{key}={MASK}" if equals and value and _is_secret(path, value) and not _has_shape(value) else _masked(text, MASK)


def _secrets(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(place, value) of each secret, in the order of the config."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secrets(item, (*path, index))
    elif path and _is_secret(path, value):
        yield path, value


def _is_secret(path: Any, value: Any) -> bool:
    """Whether the value at a place is one, by its own looks or by its key's name."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or str(value).strip() in ("", MASK):
        return False
    if _has_shape(value):
        return True
    names = [_words(str(part)) for part in path if not isinstance(part, int)]
    name = names[-1] if names else ""
    if name in PLAIN or any(parent in OF_ROWS for parent in names[:-1]):
        return False
    words = name.split("_")
    if name == "token" or words[-1] in ENDINGS or "_".join(words[-2:]) in ENDINGS:
        return True
    return words[-1] in ("key", "token") and _looks_random(str(value))


def _has_shape(value: Any) -> bool:
    return isinstance(value, str) and _masked(value, "") != value


def _masked(text: str, mask: str) -> str:
    """The text without what looks like a secret in itself."""
    text = re.sub(r"^\s*hf_[A-Za-z0-9]{16,}\s*$", mask, text)  # alone it need not be as long as in the middle of a text
    text = SHAPES.sub(mask, text)
    if "://" in text:
        text = USER.sub(f"{mask}@" if mask else "", text)
        text = QUERY.sub(rf"\1={mask}", text)
    return text


def _looks_random(text: str) -> bool:
    """Whether a text is what a program made up, not a person: 16 letters and digits mixed, with no separator among them."""
    chunk = max(re.split(r"[^A-Za-z0-9]", text), key=len)
    return " " not in text.strip() and len(chunk) >= 16 and any(map(str.isdigit, chunk)) and any(map(str.isalpha, chunk))


def _words(name: str) -> str:
    """A key in small letters with underscores: apiKey, API-KEY and api.key are api_key."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def _variable(path: tuple[Any, ...], value: Any) -> str:
    """The variable that takes the place of a key, or '' where no program reads one."""
    if str(value).strip().startswith("hf_"):
        return "HF_TOKEN"
    key = ".".join(_words(str(part)) for part in path if not isinstance(part, int))
    last = key.rpartition(".")[2]
    return next((name for start, name in VARIABLES.items() if key.startswith(start) or last.startswith(start)), "")


def _at(values: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        values = values[part]
    return values
