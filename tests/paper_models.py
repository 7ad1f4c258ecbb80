"""Weights of the paper's models in miniature, random, in the files that the real ones come in."""

from pathlib import Path

import numpy as np

# BiT-R50x1 made narrow: its 16 units and 32 groups in every norm, 128 features in place of 2,048
TINY_BIT = "timm:resnetv2_50x1_bit?channels=[64,64,64,128]&stem_chs=32&bottle_ratio=0.5"
UNITS, WIDTHS, STEM = (3, 4, 6, 3), (64, 64, 64, 128), 32
SENTENCES = [
    "the book was good and I read it twice",
    "a poor story, awful and far too long",
    "great value, fine for the price",
]


def tiny_bit_npz(folder: Path, n_classes: int = 1000) -> tuple[str, Path]:
    """Random weights as Google publishes BiT: kernels (height, width, in, out), float32.

    Returns:
        a model's name and its file.
    """
    file = Path(folder) / "BiT-tiny.npz"
    np.savez(file, **bit_arrays(n_classes))
    return TINY_BIT, file


def bit_arrays(n_classes: int = 1000, units: tuple[int, ...] = UNITS) -> dict[str, np.ndarray]:
    """Google's names -> random arrays; the middle of a unit has half its width."""
    rng = np.random.default_rng(0)
    arrays = {}

    def kernel(name: str, side: int, n_in: int, n_out: int) -> None:
        values = rng.normal(0.02, 0.05, (side, side, n_in, n_out))
        arrays[f"resnet/{name}/kernel"] = values.astype(np.float32)

    def norm(name: str, n: int) -> None:
        arrays[f"resnet/{name}group_norm/gamma"] = rng.uniform(0.5, 1.5, n).astype(np.float32)
        arrays[f"resnet/{name}group_norm/beta"] = rng.normal(0, 0.3, n).astype(np.float32)

    kernel("root_block/standardized_conv2d", 7, 3, STEM)
    n_in = STEM
    for block, (n_units, width) in enumerate(zip(units, WIDTHS, strict=True), start=1):
        for unit in range(1, n_units + 1):
            at = f"block{block}/unit{unit:02d}"
            for part, side, n, m in (
                ("a", 1, n_in, width // 2),
                ("b", 3, width // 2, width // 2),
                ("c", 1, width // 2, width),
            ):
                norm(f"{at}/{part}/", n)
                kernel(f"{at}/{part}/standardized_conv2d", side, n, m)
            if unit == 1:
                kernel(f"{at}/a/proj/standardized_conv2d", 1, n_in, width)
            n_in = width
    norm("", n_in)
    kernel("head/conv2d", 1, n_in, n_classes)
    arrays["resnet/head/conv2d/bias"] = np.zeros(n_classes, dtype=np.float32)
    return arrays


def tiny_roberta(folder: Path) -> Path:
    """A folder as RoBERTa's on the hub: a masked language model of two random layers, and BPE."""
    import torch
    from tokenizers.implementations import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

    folder = Path(folder) / "tiny-roberta"
    special = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    # ids 0 to 4, as RoBERTa's
    bpe.train_from_iterator(SENTENCES, vocab_size=320, special_tokens=list(special.values()))
    bpe._tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, cls_token="<s>", sep_token="</s>", **special
    )
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = RobertaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=514,
            type_vocab_size=1,
        )
        RobertaForMaskedLM(config).save_pretrained(folder)
    return folder
