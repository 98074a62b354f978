"""Code that comes from elsewhere than the pinned packages: what Axolotl would import by name, or fetch and run. Read in axolotl 0.19.0,
transformers 5.16 and lm_eval 0.4.11. What is known to be safe is listed; whatever else names code is not."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from preflight.config.checks.situation import Situation, finding
from preflight.config.layers import Config
from preflight.config.values import ANSWER_ONLY, entries_at_any_depth
from preflight.findings import Finding

# every BasePlugin in axolotl/integrations/, by package and class, and the kit's own
INTEGRATIONS = {
    "cut_cross_entropy": "CutCrossEntropyPlugin",
    "densemixer": "DenseMixerPlugin",
    "diffusion": "DiffusionPlugin",
    "expert_parallel": "ExpertParallelPlugin",
    "grokfast": "GrokfastPlugin",
    "hatchery": "HatcheryPlugin",
    "kd": "KDPlugin",
    "kernels": "KernelsPlugin",
    "liger": "LigerPlugin",
    "llm_compressor": "LLMCompressorPlugin",
    "lm_eval": "LMEvalPlugin",
    "mora": "MoraPlugin",
    "nemo_gym": "NemoGymPlugin",
    "spectrum": "SpectrumPlugin",
    "swanlab": "SwanLabPlugin",
}
OWN_PLUGINS = ("preflight.axolotl_plugin.KitPlugin", "preflight.training.plugin.KitPlugin")
PINNED = ("axolotl", "trl", "transformers")  # whose modules a dotted name may be of
NAMES = ("trainer_cls", "reward_funcs", "rollout_func", "serve_module", "worker_extension_cls")  # keys that hold a dotted name
KERNELS = "kernels-community"  # the one owner whose kernels transformers runs unasked
# what transformers' from_pretrained takes without running anything: where weights come from, and how they are laid out
PLAIN_KWARGS = frozenset(
    [
        *("attention_dropout", "attn_implementation", "cache_dir", "device_map", "dtype", "experts_implementation", "force_download", "gguf_file"),
        *("hidden_dropout", "id2label", "ignore_mismatched_sizes", "key_mapping", "label2id", "local_files_only", "low_cpu_mem_usage"),
        *("max_memory", "max_position_embeddings", "max_pixels", "min_pixels", "num_labels", "offload_buffers", "offload_folder"),
        *("offload_state_dict", "output_attentions", "output_hidden_states", "output_loading_info", "padding_side", "problem_type", "proxies"),
        *("quantization_config", "revision", "rope_parameters", "rope_scaling", "rope_theta", "size", "sliding_window", "subfolder"),
        *("tie_word_embeddings", "token", "torch_dtype", "tp_plan", "tp_size", "use_cache", "use_fast", "use_safetensors", "variant"),
        *("allow_all_kernels", "trust_remote_code", "use_kernels", "weights_only"),  # judged by their value
    ]
)
KWARGS = ("overrides_of_model_kwargs", "model_kwargs", "processor_kwargs")
# modules of prompt_strategies/{dpo,kto,orpo,ebft}: with `rl`, a type's first part is imported from anywhere before it is looked for there
PREFERENCE_TYPES = frozenset(
    [
        *("chat_template", "chatml", "llama3", "passthrough", "user_defined", "zephyr"),
        *("ebft_chat_multiturn", "ebft_opencode", "ebft_pretrain", "ebft_reasoning", "ebft_strided_chat", "ebft_strided_structured"),
    ]
)
REMOTE = "code from the model's or data set's repository would run on this machine"
FALSE = ("", "0", "f", "false", "n", "no", "off")  # as pydantic reads them


def check_outside_code(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.unsafe-code` for whatever would run code that did not come with Axolotl, at any depth."""
    for path, key, value in entries_at_any_depth(config.values):
        for message, fix in (*_switch(path, key, value), *_named(key, value), *_keyword(path, key, value), *_kernel(key, value)):
            yield finding(config, "config.unsafe-code", "error", path, f"{path}: {message}", fix)
    for key, message, fix in _of_plugins(config.values):
        yield finding(config, "config.unsafe-code", "error", key, f"{key}: {message}", fix)


def check_fetched_code(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.fetched-code`: what Axolotl itself fetches from the hub and runs, at whatever state it is in there."""
    values = config.values
    kernels = any("integrations.kernels." in str(name) for name in _listed(values.get("plugins")))
    if _is_on(values.get("use_kernels")) or (kernels and values.get("use_kernels") is None):
        message = "kernels are fetched from the hub and run, of whatever owner transformers names (Axolotl allows all of them)"
        yield finding(config, "config.fetched-code", "warning", "use_kernels", f"use_kernels: {message}", "use_kernels: false, if you can do without")
    for key in ("do_bench_eval", "do_causal_lm_eval"):
        if _is_on(values.get(key)):
            message = f"{key}: the scripts of its metrics are fetched from the hub and run"
            yield finding(config, "config.fetched-code", "warning", key, message, f"{key}: false; preflight.evaluation needs none")


def imports_outside(kind: Any, row_types: frozenset[str], *, preference: bool) -> bool:
    """Whether a data set's `type` would import a module that did not come with Axolotl or the kit. `row_types` are those that it has."""
    parts = re.split(r"[.:]", kind) if isinstance(kind, str) else []
    if preference:  # even a type of one part is imported by itself; of three, the second is
        return bool(parts) and (parts[0] not in PREFERENCE_TYPES or len(parts) > 2)
    return len(parts) > 1 and "." in kind and parts[0] not in row_types and parts[0] != "axolotl" and kind != ANSWER_ONLY


def _switch(path: str, key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Keys that allow code by their value."""
    free = any(part in KWARGS for part in path.split(".")[:-1])  # passed on as it is: there the text "false" is true
    if key == "trust_remote_code" and (bool(value) if free else _is_on(value)):
        yield REMOTE, "delete it; Mistral and JSONL rows need none"
    if key == "weights_only" and value is not None and not value:
        yield "weights in pickles could run code while they are loaded", "delete it, and use a model with safetensors"
    if key == "allow_all_kernels" and value:
        yield "kernels of any owner on the hub would run on this machine", f"delete it; {KERNELS} needs no leave"
    if key in ("auto_map", "kernel_config", "custom_generate") and value:
        yield "it names code of a repository, which would run on this machine", "delete it"
    if key == "torchdistx_path" and value:
        yield f"Python modules would be imported from {value}", "delete it, and use another optimizer, such as adamw_torch_fused"


def _named(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Keys that name Python code."""
    for name in _listed(value):
        if key == "plugins" and not _is_known_plugin(str(name)):
            near = next((f"axolotl.integrations.{package}.{cls}" for package, cls in INTEGRATIONS.items() if str(name).endswith(f".{cls}")), "")
            fix = f"write its whole name: {near}" if near else "delete it; Axolotl's own are named axolotl.integrations..."
            yield f"the plugin {name} is none of Axolotl's own: its Python module would be imported and run", fix
        # what has a slash is no module's name, but a reward model of the hub
        module = isinstance(name, str) and "/" not in name and ("." in name or key == "serve_module")
        if key in NAMES and module and name.partition(".")[0] not in PINNED:
            yield f"{name} would be imported and run, which is not Axolotl's, TRL's or transformers'", "delete it"


def _keyword(path: str, key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Arguments that are handed to transformers as they are."""
    parts = path.split(".")
    if len(parts) == 2 and parts[0] in KWARGS and key not in PLAIN_KWARGS and value not in (None, False):
        message = f"{key} is none of the arguments of from_pretrained that are known to run no code"
        yield message, "a value of the model's own configuration belongs into overrides_of_model_config; else delete it"


def _kernel(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Attention, experts: a name with a slash is a kernel of the hub."""
    if not key.endswith(("attn_implementation", "attn_implementation_internal", "experts_implementation")):
        return
    for name in value.values() if isinstance(value, Mapping) else [value]:
        owner = str(name).rpartition("|")[2].strip().partition("/")
        if owner[1] and owner[0] != KERNELS:
            yield f"{name} is a kernel of the hub, whose code would run on this machine", f"sdpa, or one of {KERNELS}/"


def _of_plugins(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(key, message, fix) of what Axolotl's own plugins run that is not theirs."""
    listed = [str(name) for name in _listed(values.get("plugins"))]
    if any(".nemo_gym." in name for name in listed) and all(values.get(f"nemo_gym_{key}") is not False for key in ("enabled", "auto_start")):
        yield (
            "plugins",
            "NeMo Gym's repository would be cloned, and its servers run on this machine",
            "nemo_gym_auto_start: false, or no NemoGymPlugin",
        )
    if not any(".lm_eval." in name for name in listed):
        return
    for task in _listed(values.get("lm_eval_tasks")):
        if not re.fullmatch(r"[\w:+-]+", str(task)):  # a path to a YAML of a task, which may name functions beside it
            yield "lm_eval_tasks", f"{task} is no name of a task: code beside it could run", "name tasks of lm_eval, such as hellaswag"
    for key in ("lm_eval_model", "hub_model_id", "output_dir"):
        if "," in str(values.get(key) or ""):  # it becomes a part of --model_args
            yield key, "with a comma it could hand lm_eval other arguments, trust_remote_code too", "write it without a comma"


def _is_known_plugin(name: str) -> bool:
    start, _, cls = name.rpartition(".")
    package = start.removeprefix("axolotl.integrations.").partition(".")[0]
    return name in OWN_PLUGINS or (start.startswith("axolotl.integrations.") and INTEGRATIONS.get(package) == cls)


def _is_on(value: Any) -> bool:
    """Whether Axolotl takes the value for true; what it can't take is reported elsewhere."""
    return str(value).strip().lower() not in FALSE if isinstance(value, str) else bool(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
