"""Does packing learn what padding learns? The smoke run both ways, with three seeds each, and one judge of them all.

    python benchmarks/packing_losses.py            on any machine: about 8 minutes on 2 cores
    python benchmarks/packing_losses.py --gpu      on a CUDA machine, packed as the h100 tier packs: varlen attention in bf16, LoRA kernels, Liger
    python benchmarks/packing_losses.py --fp8      on a GPU that has 8 bits: packed so, with and without fp8_frozen_weights

Both see the same rows for as many epochs, about 10 rows a step. The judge is the mean loss of a token of the validation rows, each row by
itself, computed here with transformers and peft: neither run's own evaluation.
"""

import argparse
import json
import math
import os
import platform
import tempfile
import time
from pathlib import Path

from estimate import CHECKOUT, launch, preflight

PADDED = {
    "sample_packing": "false",
    "eval_sample_packing": "false",
    "multipack_real_batches": "false",
    "pad_to_sequence_len": "false",
    "sdpa_varlen": "false",
    "micro_batch_size": "2",
    "gradient_accumulation_steps": "5",
}

ON_GPU = {"device": "null", "bf16": "true", "tf32": "true"}
FUSED = {
    "plugins": "[axolotl.integrations.liger.LigerPlugin]",
    "liger_rms_norm": "true",
    "liger_rope": "true",
    "liger_fused_linear_cross_entropy": "true",
    "lora_mlp_kernel": "true",
    "lora_qkv_kernel": "true",
    "lora_o_kernel": "true",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--fp8", action="store_true")
    parser.add_argument("--answers", action="store_true", help="also ask each adapter the 200 test questions, and run its answers on PostgreSQL")
    args = parser.parse_args()
    ways = {"packed": ON_GPU | FUSED, "padded": ON_GPU | PADDED} if args.gpu else {"packed": {}, "padded": PADDED}
    if args.fp8:
        ways = {"bf16": ON_GPU | FUSED, "FP8": ON_GPU | FUSED | {"fp8_frozen_weights": "kept"}}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    found: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            for name, changes in ways.items():
                workspace = Path(folder) / f"{name}-{seed}"
                settings = [part for key, value in (changes | {"seed": seed}).items() for part in ("--set", f"{key}={value}")]
                report = preflight(["axolotl_configs/smoke.yaml", *settings], workspace)
                launch(report)
                found[name].append(loss(Path(report["config_path"]).parent / "outputs"))
                right = f", {answered(Path(report['config_path']))}" if args.answers else ""
                steps, tokens = report["plan"]["steps"], report["plan"]["tokens"]
                print(f"seed {seed:<4} {name}: {steps} steps, {tokens:,} tokens, validation loss {found[name][-1]:.4f}{right}", flush=True)
    spread = max(max(losses) - min(losses) for losses in found.values())
    means = {name: sum(losses) / len(losses) for name, losses in found.items()}
    shown = ", ".join(f"{mean:.4f} {name}" for name, mean in means.items())
    print(f"mean {shown}: {max(means.values()) - min(means.values()):.4f} apart; seeds spread {spread:.4f}")


def answered(config: Path) -> str:
    """How many of the test questions the adapter of a run answers."""
    import yaml

    from preflight.data.prompt_strategies import find_strategy
    from preflight.training.evaluation.answers import read_questions, trained_tokenizer
    from preflight.training.evaluation.execution import Asked, judge_answers
    from preflight.training.evaluation.generation import ask, load_model

    values, adapter = yaml.safe_load(config.read_text()), config.parent / "outputs"
    tokenizer, strategy = trained_tokenizer(values, adapter), find_strategy(values["datasets"][0])
    assert tokenizer
    assert strategy
    questions = read_questions(CHECKOUT / "sample_data/test_postgres.jsonl", strategy, values, tokenizer)
    given = ask(load_model(values, adapter, questions), questions, lambda done, total: None).adapter
    exact = sum(answer == question.answer for answer, question in zip(given, questions, strict=True))
    executed, why = judge_answers([Asked(line=q.line, question=q.question, expected=q.answer) for q in questions], {"adapter": given})
    return f"{executed['adapter'].summary}" if executed else f"{exact} of {len(questions)} exact ({why})"


def loss(adapter: Path) -> float:
    """Mean loss of a token of the validation rows."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    base = AutoModelForCausalLM.from_pretrained(CHECKOUT / "sample_data/smoke_base", dtype=torch.float32).to(device)
    model = PeftModel.from_pretrained(base, adapter).eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for line in (CHECKOUT / "sample_data/val_postgres.jsonl").read_text().splitlines():
            ids = tokenizer(json.loads(line)["text"] + tokenizer.eos_token, return_tensors="pt")["input_ids"].to(device)
            mean = float(model(input_ids=ids, labels=ids).loss)
            assert math.isfinite(mean)
            total, count = total + mean * (ids.shape[1] - 1), count + ids.shape[1] - 1
    return total / count


if __name__ == "__main__":
    main()
