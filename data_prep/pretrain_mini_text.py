"""Pretrain the embedded RoBERTa by masked language modelling on the anecdotes of mini/anecdotes.py.

The corpus is a stream of anecdotes drawn on the fly; it holds no reviews and no stars. A second,
equally label-free objective keeps the sentence token <s> awake, which masked language modelling
alone leaves untrained and which the classification head reads: from <s>, name the words that were
masked, in any order.

    python data_prep/pretrain_mini.py --model mini-roberta-m
"""

import hashlib
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from mini.anecdotes import source_corpus
from mini.remarks import template_words, vocabulary
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import BatchEncoding, PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@dataclass(frozen=True)
class Plan:
    """Length and recipe of the pretraining run."""

    steps: int = 12_000  # length of the schedule
    # the shipped weights stop here, where the rate is down to 7% and little is gained
    stop_after: int = 10_000
    batch_size: int = 64
    lr: float = 2e-3
    warmup_steps: int = 300
    weight_decay: float = 0.01
    mask_rate: float = 0.35
    mask_rate_frequent: float = 0.1  # of the words of the templates, which teach little
    bag_weight: float = 0.5  # weight of the objective on <s>
    seed: int = 0
    log_every: int = 500


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A token per lower-case word or punctuation mark, with RoBERTa's special tokens and ids."""
    words = {token: k for k, token in enumerate(SPECIAL + vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("[.,:]"), "isolated")]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", words["</s>"]), ("<s>", words["<s>"]), trim_offsets=False, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=40,
    )


def build_config(vocab_size: int) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=384,
        max_position_embeddings=42,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def mask_rates(tokenizer: PreTrainedTokenizerFast, plan: Plan) -> torch.Tensor:
    """(vocabulary,) chance of each token to be masked."""
    rates = torch.full((len(tokenizer),), plan.mask_rate)
    rates[tokenizer.convert_tokens_to_ids(template_words())] = plan.mask_rate_frequent
    rates[: len(SPECIAL)] = 0
    return rates


def mask_tokens(
    ids: torch.Tensor, rates: torch.Tensor, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's masking: of the chosen words 80% become <mask>, 10% a random word, 10% stay.

    Returns:
        ids and which were chosen, each of the shape of `ids`.
    """
    chosen = torch.rand(ids.shape, generator=rng) < rates[ids]
    action = torch.rand(ids.shape, generator=rng)
    noise = torch.randint(len(SPECIAL), len(rates), ids.shape, generator=rng)
    masked = torch.where(chosen & (action < 0.8), SPECIAL.index("<mask>"), ids)
    return torch.where(chosen & (action >= 0.9), noise, masked), chosen


def losses(
    model: RobertaForMaskedLM,
    ids: torch.Tensor,
    attention_mask: torch.Tensor,
    masked: torch.Tensor,
    chosen: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropy at the masked words, the same from <s> alone, share of words guessed."""
    hidden = model.roberta(input_ids=masked, attention_mask=attention_mask).last_hidden_state
    rows, _ = chosen.nonzero(as_tuple=True)
    words = ids[chosen]
    logits = model.lm_head(hidden[chosen])
    bag = model.lm_head(hidden[:, 0])[rows]
    return (
        F.cross_entropy(logits, words),
        F.cross_entropy(bag, words),
        (logits.argmax(1) == words).float().mean(),
    )


def batches(
    tokenizer: PreTrainedTokenizerFast, plan: Plan, n_sorted: int = 8
) -> Iterator[BatchEncoding]:
    """Batches of texts of similar length, so that little is padding.

    `n_sorted` batches are drawn and sorted at once.
    """
    corpus = source_corpus(plan.seed, plan.steps * plan.batch_size)
    for _ in range(0, plan.steps, n_sorted):
        texts = sorted(islice(corpus, n_sorted * plan.batch_size), key=lambda text: text.count(" "))
        group = [texts[k : k + plan.batch_size] for k in range(0, len(texts), plan.batch_size)]
        for part in random.sample(group, len(group)):
            yield tokenizer(part, padding=True, return_tensors="pt", return_token_type_ids=False)


def train(model: RobertaForMaskedLM, tokenizer: PreTrainedTokenizerFast, plan: Plan) -> None:
    """The pretraining loop: AdamW, linear warm-up, cosine to zero."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, betas=(0.9, 0.98)
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: (
            min(1.0, (k + 1) / plan.warmup_steps) * 0.5 * (1 + math.cos(math.pi * k / plan.steps))
        ),
    )
    rng = torch.Generator().manual_seed(plan.seed)
    rates = mask_rates(tokenizer, plan)
    sums = torch.zeros(3)
    for step, batch in enumerate(islice(batches(tokenizer, plan), plan.stop_after), 1):
        masked, chosen = mask_tokens(batch["input_ids"], rates, rng)
        mlm, bag, hit = losses(model, batch["input_ids"], batch["attention_mask"], masked, chosen)
        optimizer.zero_grad()
        (mlm + plan.bag_weight * bag).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        sums += torch.tensor([mlm.item(), bag.item(), hit.item()])
        if step % plan.log_every == 0:
            means = sums / plan.log_every
            sums = torch.zeros(3)
            print(
                f"step {step} mlm {means[0]:.3f} bag {means[1]:.3f} masked-word accuracy "
                f"{means[2]:.3f} cpu {time.process_time():.0f} s",
                flush=True,
            )


def save(model: RobertaForMaskedLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """A `from_pretrained` folder: half precision, which loaders are asked to cast to float32."""
    model.half().save_pretrained(out)
    model.config.dtype = torch.float32
    model.config.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)


def pretrain(out_dir: str | Path, plan: Plan = Plan()) -> Path:
    """Pretrain; save weights, config and tokenizer to `out_dir`/mini-roberta-m."""
    torch.set_num_threads(1)
    random.seed(plan.seed)
    torch.manual_seed(plan.seed)
    tokenizer = build_tokenizer()
    model = RobertaForMaskedLM(build_config(len(tokenizer)))
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens",
        flush=True,
    )
    train(model, tokenizer, plan)
    out = Path(out_dir) / "mini-roberta-m"
    save(model, tokenizer, out)
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    print(f"{out}: model.safetensors sha256 {digest}")
    return out
