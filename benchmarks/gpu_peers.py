"""The same training without Axolotl: the plan as a plain TRL script, and Unsloth. `gpu_peers.py {trl,unsloth} OPTIONS ...`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=("trl", "unsloth"))
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--packing", action="store_true", help="sequences of 2,048 that rows share, 4 to a step; else 16 padded rows")
    parser.add_argument("--no-checkpointing", action="store_true")
    parser.add_argument("--dropout", type=float, default=0.05)
    args = parser.parse_args()
    model, tokenizer, adapter = (unsloth if args.peer == "unsloth" else trl)(args)
    from datasets import Dataset
    from gpu_probe import attach, cap_memory
    from trl import SFTConfig, SFTTrainer

    cap_memory()
    rows = [json.loads(line) for line in args.rows.read_text(encoding="utf-8").splitlines()]
    config = SFTConfig(
        output_dir=str(args.rows.parent / "peer"),
        dataset_text_field="text",
        max_length=2_048,
        packing=args.packing,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=1 if args.packing else 4,
        gradient_checkpointing=args.peer == "trl" and not args.no_checkpointing,
        max_steps=args.steps,
        learning_rate=2e-4,
        lr_scheduler_type="cosine",
        warmup_steps=3,
        weight_decay=0.001,
        max_grad_norm=0.3,
        optim="paged_adamw_32bit",
        bf16=True,
        tf32=True,
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        seed=42,
    )
    trainer = SFTTrainer(model=model, processing_class=tokenizer, args=config, train_dataset=Dataset.from_list(rows), peft_config=adapter)
    attach(trainer)
    trainer.train()


def trl(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    import torch
    from peft import LoraConfig, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )
    model = AutoModelForCausalLM.from_pretrained(
        args.model, quantization_config=quantized, dtype=torch.bfloat16, attn_implementation="sdpa", device_map={"": 0}
    )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=not args.no_checkpointing)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token
    adapter = LoraConfig(r=16, lora_alpha=32, lora_dropout=args.dropout, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
    return model, tokenizer, adapter


def unsloth(args: argparse.Namespace) -> tuple[Any, Any, None]:
    import torch
    from unsloth import FastLanguageModel  # has to be imported before TRL

    model, tokenizer = FastLanguageModel.from_pretrained(args.model, max_seq_length=2_048, load_in_4bit=True, dtype=torch.bfloat16)
    model = FastLanguageModel.get_peft_model(
        model,
        r=16,
        lora_alpha=32,
        lora_dropout=args.dropout,
        target_modules=PROJECTIONS,
        bias="none",
        use_gradient_checkpointing=False if args.no_checkpointing else "unsloth",
        random_state=42,
    )
    return model, tokenizer, None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
