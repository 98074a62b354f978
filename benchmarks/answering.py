"""How long the evaluation takes to ask a 7B its test questions, base and adapter, on this CUDA machine.

    python benchmarks/answering.py --questions 200

The model has the shape of Mistral-7B and random weights, so that no answer ends by itself: each takes as many tokens as it may, which a trained
adapter's don't.
"""

import argparse
import tempfile
import time
from pathlib import Path

from gpu_training import CHECKOUT, make_model

from preflight.data.prompt_strategies import find_strategy
from preflight.machine.gpu import inspect_gpus
from preflight.training.evaluation.answers import read_questions, trained_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "gpu_training", help="where the model lies: 14.5 GB")
    args = parser.parse_args()
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from preflight.training.evaluation.generation import ask, load_model

    args.work.mkdir(parents=True, exist_ok=True)
    model, adapter = make_model(args.work, "7b"), args.work / "adapter"
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, device_map="auto"), lora).save_pretrained(adapter)
    AutoTokenizer.from_pretrained(model).save_pretrained(adapter)
    torch.cuda.empty_cache()
    values = {"base_model": str(model), "load_in_4bit": True, "bf16": True, "datasets": [{"type": "completion", "field": "text"}]}
    strategy, tokenizer = find_strategy(values["datasets"][0]), trained_tokenizer(values, adapter)
    assert strategy
    assert tokenizer
    questions = read_questions(CHECKOUT / "sample_data/test_postgres.jsonl", strategy, values, tokenizer, args.questions)
    begun = time.perf_counter()
    asked = load_model(values, adapter, questions)
    loaded, size = time.perf_counter() - begun, asked.batch_size(questions)
    longest = asked.longest
    ask(asked, questions, lambda done, total: print(f"{done} of {total} after {time.perf_counter() - begun:.0f} s", flush=True))
    seconds = time.perf_counter() - begun
    gpu = inspect_gpus().gpus[0].name
    print(
        f"{gpu}, {time.strftime('%Y-%m-%d')}: {len(questions)} questions x 2 in {seconds:.0f} s, {loaded:.0f} of them the load; "
        f"batches of {size}, {longest} tokens each; {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most"
    )


if __name__ == "__main__":
    main()
