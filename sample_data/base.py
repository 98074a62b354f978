"""The smoke base before training: its corpus, a byte-level BPE tokenizer and the shape of a small Mistral."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sample_data.generate import corpus, write_jsonl

SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
VOCABULARY = 1024
POSITIONS = 1024
DOCUMENTS = 24_000  # 4.0 million tokens

# 1.8 million weights: 7.3 MB in fp32. Grouped-query attention as in Mistral-7B; many small heads, because answering is
# mostly copying; embeddings tied, to spend the bytes on layers
SHAPE: dict[str, object] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "vocab_size": VOCABULARY,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": POSITIONS,
    "sliding_window": None,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "initializer_range": 0.02,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "use_cache": True,
}


def train_tokenizer(documents: Iterable[str]) -> Tokenizer:
    """A byte-level BPE tokenizer that puts BOS first, as Mistral's does."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def write_untrained(folder: Path) -> list[Path]:
    """Write `corpus.jsonl` and, in `untrained/`, the tokenizer and the shape; return the files."""
    documents = list(corpus(DOCUMENTS))
    rows = folder / "corpus.jsonl"
    write_jsonl(rows, ({"text": document} for document in documents))

    model = folder / "untrained"
    model.mkdir(parents=True, exist_ok=True)
    tokenizer, tokenizer_config, config = (model / name for name in ("tokenizer.json", "tokenizer_config.json", "config.json"))
    train_tokenizer(documents).save(str(tokenizer))
    class_and_special = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        "clean_up_tokenization_spaces": False,
        **SPECIAL,
    }
    for path, content in ((tokenizer_config, class_and_special), (config, SHAPE)):
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return [rows, tokenizer, tokenizer_config, config]
