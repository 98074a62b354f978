"""What the real Axolotl says, in a process of its own: importing it takes 15 s, so the tests that ask share one.

Run as a script it answers one JSON line for each it reads; `Axolotl` is the other end.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
OFFLINE = {"AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


class Axolotl:
    """Asks; raises EOFError if the other process died."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=CHECKOUT,
            env=os.environ | OFFLINE | {"PYTHONPATH": str(CHECKOUT)},
        )

    def ask(self, what, **arguments):
        self.process.stdin.write(json.dumps({"what": what} | arguments) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the process ended at {what}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    from axolotl.cli.config import prepare_plugins
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from pydantic import ValidationError

    from tests.support.forking import fork_what_writes_rows

    fork_what_writes_rows()

    def schema():
        """The schema as the project's command generates it now."""
        from scripts.generate_schema import generate

        return generate()

    def validate(values, capability=None, gpus=1):
        """What Axolotl makes of a config on a GPU of this compute capability, and its error or ''."""
        machine = {}
        if capability:
            machine = {
                "capabilities": {
                    "bf16": capability >= 80,
                    "fp8": capability >= 89,
                    "tf32": capability >= 80,
                    "n_gpu": gpus,
                    "n_node": 1,
                    "compute_capability": f"sm_{capability}",
                },
                "env_capabilities": {"torch_version": "2.13.0"},
            }
        try:
            cfg = DictDefault(values)
            prepare_plugins(cfg)
            return {"values": plain(validate_config(cfg, **machine).to_dict()), "error": ""}
        except Exception as error:
            return {"values": {}, "error": f"{type(error).__name__}: {error}"}

    def judge(values):
        """What the process that preflight starts would say of a config on an A100."""
        from preflight.training.validate import judge as judged

        a100 = {"bf16": True, "fp8": False, "tf32": True, "n_gpu": 1, "compute_capability": "sm_80"}
        return judged(values, a100)

    def field_errors(key, values):
        """For each value, whether the model refuses it for this top-level key; None where a rule over several keys hides that."""
        base = {"base_model": "x", "datasets": [{"path": "x", "type": "completion"}], "learning_rate": 1, "micro_batch_size": 1}
        refused = []
        for value in values:
            try:
                AxolotlInputConfig.model_validate(base | {key: value})
                refused.append(False)
            except ValidationError as error:
                places = [detail["loc"][:1] for detail in error.errors()]
                refused.append(None if () in places else (key,) in places)
            except Exception:
                refused.append(None)
        return refused

    def steps(path):
        """How many steps Axolotl makes of the rows of a YAML, and the lengths of the sequences that it packs, in its order."""
        from axolotl.cli.config import load_cfg
        from axolotl.common.datasets import load_datasets

        meta = load_datasets(cfg=load_cfg(path))
        rows = meta.train_dataset
        trained = sum(label != -100 for labels in rows["labels"] for label in labels)
        tokens = [[ids, [label != -100 for label in labels]] for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True)]
        return {"steps": meta.total_num_steps, "lengths": [len(ids) for ids, _ in tokens], "trained": trained, "tokens": tokens}

    def trains(path):
        """What the trainer makes of the rows of a YAML: its steps, its batches in an epoch, and those of an evaluation; or why Axolotl stops.
        Axolotl's own samplers and transformers' own count, without a model."""
        from functools import partial
        from types import SimpleNamespace

        from axolotl.cli.config import load_cfg
        from axolotl.common.datasets import load_datasets
        from axolotl.core.trainers.base import AxolotlTrainer
        from torch.utils.data import BatchSampler, RandomSampler
        from transformers import Trainer

        cfg = load_cfg(path)
        try:
            meta = load_datasets(cfg=cfg)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        args = SimpleNamespace(
            multipack_real_batches=cfg.multipack_real_batches if cfg.multipack_real_batches is not None else not cfg.attn_supports_packing,
            per_device_train_batch_size=cfg.micro_batch_size,
            max_seq_length=cfg.sequence_len,
            sample_packing=cfg.sample_packing,
            eval_sample_packing=cfg.eval_sample_packing,
            sample_packing_efficiency=1.0,
            sample_packing_group_size=cfg.sample_packing_group_size,
            sample_packing_bin_size=cfg.sample_packing_bin_size,
            sample_packing_sequentially=False,
            sample_packing_mp_start_method=None,
            dataset_num_proc=1,
            curriculum_sampling=cfg.curriculum_sampling,
            pretraining=False,
            max_steps=cfg.max_steps or meta.total_num_steps or -1,  # core/builders/base.py
            num_train_epochs=cfg.num_epochs,
            gradient_accumulation_steps=cfg.gradient_accumulation_steps,
        )
        me = SimpleNamespace(args=args, state=SimpleNamespace(train_batch_size=None), num_examples=len, get_sp_size=lambda: 1)
        me.get_total_train_batch_size = lambda args: cfg.batch_size
        me._create_multipack_sampler = partial(AxolotlTrainer._create_multipack_sampler, me)
        evaluated = None
        if cfg.sample_packing:
            loader = AxolotlTrainer._get_train_sampler(me, meta.train_dataset)
            if meta.eval_dataset is not None and cfg.eval_sample_packing is not False:
                evaluated = len(AxolotlTrainer._get_eval_sampler(me, meta.eval_dataset))
        else:
            loader = BatchSampler(RandomSampler(meta.train_dataset), cfg.micro_batch_size, drop_last=False)
        steps = Trainer.set_initial_training_values(me, args, loader)[-1]
        return {"error": "", "steps": steps if len(loader) else 0, "batches": len(loader), "eval_batches": evaluated}

    def tokens(path, file):
        """What Axolotl makes of each row of a file by the first entry of a YAML: [ids, whether each has loss], or why it dies."""
        from axolotl.cli.config import load_cfg
        from axolotl.loaders import load_tokenizer
        from axolotl.prompt_strategies import load
        from axolotl.utils.data.sft import _parse_dataset_type
        from axolotl.utils.data.wrappers import get_dataset_wrapper
        from datasets import load_dataset

        def seen(found):
            return [found["input_ids"], [label != -100 for label in found["labels"]]]

        rows, made = load_dataset("json", data_files=file, split="train"), []
        try:
            cfg = load_cfg(path)
            entry, tokenizer = cfg.datasets[0], load_tokenizer(cfg)
            if entry.type != "chat_template":
                base, style = _parse_dataset_type(entry.type)
                found, _ = get_dataset_wrapper(entry, tokenizer, cfg, base, rows, style)
                return {"rows": [seen(row) for row in found], "error": ""}
            strategy = load(entry.type, tokenizer, cfg, entry)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        for number in range(len(rows)):
            try:
                found = strategy.tokenize_prompt(rows[number : number + 1])  # as `map` gives them: a batch
                made.append(seen({key: value[0] for key, value in found.items()}))
            except Exception as error:
                made.append(f"{type(error).__name__}: {error}")
        return {"rows": made, "error": ""}

    def loaded(entries, group):
        """The rows that Axolotl loads for each entry of `datasets` (the group train) or `test_datasets` (test), or why it dies."""
        from axolotl.utils.data.shared import load_dataset_with_config
        from datasets import DatasetDict

        found = []
        for entry in entries:
            try:
                rows = load_dataset_with_config(DictDefault(entry), False)
                if isinstance(rows, DatasetDict):  # _load_and_process_single_dataset
                    name = entry["split"] if entry.get("split") in rows else group
                    if name not in rows:
                        raise ValueError(f"no {group} split found for dataset {entry['path']}")
                    rows = rows[name]
                found.append({"rows": list(rows), "error": ""})
            except Exception as error:
                found.append({"rows": [], "error": f"{type(error).__name__}: {error}"})
        return found

    def prefers(values, row):
        """What Axolotl's transform for `rl` makes of a row: its prompt, its answers; or why it dies."""
        from axolotl.loaders import load_tokenizer
        from axolotl.prompt_strategies.dpo import load as dpo
        from axolotl.prompt_strategies.kto import load as kto
        from axolotl.prompt_strategies.orpo import load as orpo

        cfg = DictDefault(values)
        kind = cfg.datasets[0].type
        transform = {"orpo": orpo, "kto": kto}.get(cfg.rl, dpo)("user_defined.default" if isinstance(kind, dict) else kind, cfg, dataset_idx=0)
        if transform is None:
            return {"error": "no such type"}
        transform = transform[0] if isinstance(transform, tuple) else transform
        needs = {"tokenizer": load_tokenizer(cfg)} if "tokenizer" in transform.__code__.co_varnames else {}
        try:
            return {key: value for key, value in transform(row, **needs).items() if key in ("prompt", "chosen", "rejected", "completion")}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def mistral_lengths(texts):
        """Tokens of each text with Mistral's tokenizer as transformers builds it, with the BOS and EOS that a completion row gets."""
        import shutil
        import tempfile

        import mistral_common
        from transformers import LlamaTokenizer

        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1", Path(folder) / "tokenizer.model")
            tokenizer = LlamaTokenizer.from_pretrained(folder, add_bos_token=True)
        return [len(tokenizer(text)["input_ids"]) + 1 for text in texts]

    def mistral_tokens(texts):
        """[ids, offsets] of each text by Mistral's tokenizer.json of 2023, built as it was from the SentencePiece model: the merges in the
        order of their scores, a space before each stretch between special tokens."""
        import mistral_common
        from sentencepiece import SentencePieceProcessor
        from tokenizers import Tokenizer, normalizers
        from tokenizers.models import BPE
        from transformers.convert_slow_tokenizer import SentencePieceExtractor

        path = str(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1")
        found, pieces = SentencePieceExtractor(path).extract(BPE), SentencePieceProcessor(model_file=path)
        merges = sorted(found["merges"], key=lambda merge: -pieces.get_score(found["vocab"]["".join(merge)]))
        tokenizer = Tokenizer(BPE(vocab=found["vocab"], merges=merges, fuse_unk=True, byte_fallback=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
        encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
        return [[one.ids, one.offsets] for one in encoded]

    def packed_and_padded(texts):
        """The loss of each token of these texts and the gradient of a weight, on the smoke base: packed in one sequence on Axolotl's
        varlen attention with the plugin's share of it, and padded to the longest."""
        import torch
        from axolotl.monkeypatch.attention.sdpa_varlen import patch_sdpa_varlen
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from preflight.training.plugin.packing import share_packing

        share_packing()
        patch_sdpa_varlen()
        tokenizer = AutoTokenizer.from_pretrained("sample_data/smoke_base")
        model = AutoModelForCausalLM.from_pretrained("sample_data/smoke_base", dtype=torch.float32, attn_implementation="sdpa")
        weight = model.model.layers[0].self_attn.q_proj.weight
        rows = [tokenizer(text, return_tensors="pt")["input_ids"][0] for text in texts]

        def losses(logits, row):
            return torch.nn.functional.cross_entropy(logits[: len(row) - 1], row[1:], reduction="none")

        def gradient(values):
            model.zero_grad()
            torch.cat(values).sum().backward()
            return weight.grad.flatten()[::997].tolist()

        places = torch.cat([torch.arange(len(row)) for row in rows])[None]
        logits = model(input_ids=torch.cat(rows)[None], position_ids=places, use_cache=False).logits[0]
        packed = [losses(part, row) for part, row in zip(logits.split([len(row) for row in rows]), rows, strict=True)]
        width = max(len(row) for row in rows)
        ids = torch.stack([torch.nn.functional.pad(row, (0, width - len(row)), value=0) for row in rows])
        mask = torch.stack([(torch.arange(width) < len(row)).long() for row in rows])
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        padded = [losses(part, row) for part, row in zip(logits, rows, strict=True)]
        one = model(input_ids=torch.cat(rows)[None], use_cache=False).logits[0]  # as one text, without a boundary between the rows
        mixed = [losses(part, row) for part, row in zip(one.split([len(row) for row in rows]), rows, strict=True)]
        return {
            name: {"losses": torch.cat(found).tolist(), "gradient": gradient(found)}
            for name, found in (("packed", packed), ("padded", padded), ("mixed", mixed))
        }

    def plain(value):
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    calls = {
        call.__name__: call
        for call in (
            schema,
            validate,
            judge,
            field_errors,
            steps,
            trains,
            tokens,
            loaded,
            prefers,
            mistral_lengths,
            mistral_tokens,
            packed_and_padded,
        )
    }
    for line in sys.stdin:
        gc.freeze()  # Axolotl collects garbage ten times a data set; what imports and earlier questions have left is none
        question = json.loads(line)
        answer = calls[question.pop("what")](**question)
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
