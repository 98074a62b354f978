"""Training speed and memory of the kit's tiers and of its peers, side by side on this CUDA machine, in one go.

    python benchmarks/gpu_training.py                         the kit's tier for this GPU, the plan to the letter, TRL, Unsloth
    python benchmarks/gpu_training.py kit:h100 unsloth+packing+no-checkpointing --repeat 3
    python benchmarks/gpu_training.py kit:l4+cap=22 kit:h100+lora_dropout=0 padded:h100 --steps 30 --profile kit:h100

A variant is CONFIG:TIER, where CONFIG is kit (mistral_qlora.yaml) or padded (mistral_qlora_padded.yaml); or trl or unsloth with their
options. `+key=value` sets a key of the YAML; `+cap=GIB` lets the process take that much memory and no more, as on a smaller card;
`+bare` leaves the kit's plugin out.
Each runs in a process of its own, in turn, `--repeat` times. The base model has the shape of Mistral-7B and random weights: speed and
memory are those of the real one, losses are not. Rows are made by a seed. Nothing is fetched and nothing is sent.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

import history  # noqa: E402
from gpu_results import Result, medians, shown, table  # noqa: E402
from rows import write_rows  # noqa: E402

from preflight.checkpoints.stage import PLUGIN  # noqa: E402
from preflight.config.layers import Config, parse_override, with_changes  # noqa: E402
from preflight.config.tiers import nearest_tier, read_tier, tier_changes, tier_of  # noqa: E402
from preflight.config.yaml_file import read_yaml  # noqa: E402
from preflight.machine.gpu import inspect_gpus  # noqa: E402

CONFIGS = {"kit": "mistral_qlora.yaml", "padded": "mistral_qlora_padded.yaml"}
SKIP = 5  # steps that warm up, and don't count
SHAPES = {
    "7b": {},
    "tiny": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2},
}
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "AXOLOTL_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", metavar="VARIANT")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "gpu_training", help="where the model lies: 14.5 GB")
    parser.add_argument("--profile", action="append", default=[], metavar="VARIANT", help="also write the kernels' times of this variant")
    parser.add_argument("--out", type=Path, default=Path("gpu_training.json"), help="every figure, as JSON")
    args = parser.parse_args()
    found = inspect_gpus()
    if not found.gpus:
        raise SystemExit(f"gpu_training: no NVIDIA GPU: {found.reason}")
    tier = tier_of(found.gpus[0]) or nearest_tier(found.gpus[0])
    name = tier.name if tier else "t4"
    variants = args.variants or [f"kit:{name}", f"padded:{name}", "trl", "unsloth", "unsloth+packing", "unsloth+packing+no-checkpointing"]
    args.work.mkdir(parents=True, exist_ok=True)
    model, rows = make_model(args.work, args.shape), write_rows(args.work, args.rows)[0]
    rate, parameters = matmul_rate(), matmul_parameters(model)
    bound = rate / (4 * parameters)
    print(
        f"{found.gpus[0].name}, {time.strftime('%Y-%m-%d')}: bf16 matmul {rate / 1e12:.0f} TFLOP/s, so at most {bound:,.0f} tokens/s (4 N FLOPs a token)"
    )
    results: list[Result] = []
    for _ in range(args.repeat):
        for variant in variants:
            result = run(variant, model, rows, args)
            if result:
                results.append(result)
                print(shown(result, bound), flush=True)
                known = {"gpu": found.gpus[0].name, "date": time.strftime("%Y-%m-%d"), "matmul": rate, "results": [vars(r) for r in results]}
                args.out.write_text(json.dumps(known))
    print("\n" + table(results, bound))
    for middle in medians(results):
        count = sum(result.variant == middle.variant for result in results)
        if line := history.add(found.gpus[0].name, middle.variant, middle.tokens_per_second, bound, middle.allocated_gib, count):
            print(line)


def make_model(work: Path, shape: str) -> Path:
    """The model with random weights, written once, with Mistral's own tokenizer, which mistral_common brings along."""
    folder = work / f"mistral_{shape}"
    if (folder / "config.json").exists():
        return folder
    import mistral_common
    import torch
    from transformers import LlamaTokenizer, MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = MistralForCausalLM(MistralConfig(bos_token_id=1, eos_token_id=2, **SHAPES[shape]))
        torch.set_default_dtype(torch.float32)
    aside = folder.with_name(f"{folder.name}.part")
    model.save_pretrained(aside)
    del model
    torch.cuda.empty_cache()
    pieces = Path(mistral_common.__file__).parent / "data/tokenizer.model.v1"
    shutil.copy(pieces, aside / "tokenizer.model")
    LlamaTokenizer.from_pretrained(aside).save_pretrained(aside)
    aside.rename(folder)
    return folder


def matmul_rate() -> float:
    """FLOP a second of the largest matrix product of the model, on random data, sustained for a second or two."""
    import torch

    a, b = (torch.randn(*size, device="cuda", dtype=torch.bfloat16) for size in ((8_192, 4_096), (4_096, 14_336)))
    for timed in (20, 600):
        torch.cuda.synchronize()
        before = time.perf_counter()
        for _ in range(timed):
            a @ b
        torch.cuda.synchronize()
        seconds = time.perf_counter() - before
    del a, b
    torch.cuda.empty_cache()
    return timed * 2 * 8_192 * 4_096 * 14_336 / seconds


def matmul_parameters(model: Path) -> int:
    """Weights that a token is multiplied with: all but the embeddings."""
    from transformers import MistralConfig

    c = MistralConfig.from_pretrained(model)
    head = c.hidden_size // c.num_attention_heads
    attention = c.hidden_size * head * (2 * c.num_attention_heads + 2 * c.num_key_value_heads)
    return int(c.num_hidden_layers * (attention + 3 * c.hidden_size * c.intermediate_size) + c.hidden_size * c.vocab_size)


def run(variant: str, model: Path, rows: Path, args: argparse.Namespace) -> Result | None:
    """Train in a process of its own; None if it failed, which is said."""
    name, *options = variant.split("+")
    settings = dict(option.split("=", 1) for option in options if "=" in option)
    own = [] if "bare" in options else [PLUGIN]
    out = args.work / "probe.json"
    out.unlink(missing_ok=True)
    env = os.environ | OFFLINE | {"PROBE_OUT": str(out), "PROBE_SKIP": str(SKIP)}
    env["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT / "benchmarks"), str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
    if cap := settings.pop("cap", ""):
        env["PROBE_CAP"] = cap
    if variant in args.profile:
        env["PROBE_PROFILE"] = str(args.out.with_name(f"profile-{variant.replace(':', '-').replace('+', '-').replace('=', '-')}.txt"))
    if ":" in name:
        command = [sys.executable, "-m", "axolotl.cli.train", str(write_yaml(name, settings, own, model, rows, args))]
    else:
        flags = [f"--{option.split('=', 1)[0]}" + (f"={option.split('=', 1)[1]}" if "=" in option else "") for option in options]
        command = [sys.executable, str(CHECKOUT / "benchmarks/gpu_peers.py"), name, str(model), str(rows), f"--steps={args.steps}", *flags]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=args.work)
    if not out.exists():
        print(f"{variant}: failed with {done.returncode}\n{(done.stdout + done.stderr)[-2_500:]}", flush=True)
        return None
    seen = json.loads(out.read_text())
    seconds, tokens = seen["seconds"][SKIP:], seen["tokens"][SKIP:]
    if variant in args.profile:
        seconds, tokens = seconds[5:], tokens[5:]  # the profiled ones don't count
    percentiles = statistics.quantiles(seconds, n=10)
    return Result(
        variant=variant,
        tokens_per_second=sum(tokens) / sum(seconds),
        tokens_per_step=statistics.mean(tokens),
        allocated_gib=seen["allocated_gib"],
        reserved_gib=seen["reserved_gib"],
        first_step_s=seen["first_step_s"],
        losses=tuple(seen["losses"]),
        tokens=tuple(seen["tokens"]),
        spread=percentiles[-1] / percentiles[0],
    )


def write_yaml(name: str, settings: dict[str, str], own: list[str], model: Path, rows: Path, args: argparse.Namespace) -> Path:
    """The kit's YAML as preflight resolves it for the tier, with the paths of this benchmark and no saves."""
    kind, _, tier = name.partition(":")
    file, _ = read_yaml(CHECKOUT / "axolotl_configs" / CONFIGS[kind])
    layer, _ = read_tier(tier)
    if file is None or layer is None:
        raise SystemExit(f"gpu_training: no config {kind}, or no tier {tier}")
    overrides = tuple(parse_override(f"{key}={value}") for key, value in settings.items())
    resolved = Config(file=file, values=file.values)
    resolved, _ = with_changes(resolved, tier_changes(resolved, layer, overrides))
    resolved, _ = with_changes(resolved, overrides)
    values: dict[str, Any] = dict(resolved.values)
    for key in [key for key in values if key.startswith(("eval_", "save_", "test_", "load_best", "metric_for", "greater_is"))]:
        del values[key]
    values["datasets"][0]["path"] = str(rows)
    values |= {
        "base_model": str(model),
        "output_dir": str(args.work / "out"),
        "dataset_prepared_path": str(args.work / "prepared"),
        "max_steps": int(settings.get("max_steps", args.steps)),
        "warmup_steps": 3,
        "logging_steps": 5,
        "save_strategy": "no",
        "use_tensorboard": False,
        "plugins": [*(values.get("plugins") or ()), *own, "gpu_probe.ProbePlugin"],
    }
    values.pop("warmup_ratio", None)
    path = args.work / "variant.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


if __name__ == "__main__":
    main()
