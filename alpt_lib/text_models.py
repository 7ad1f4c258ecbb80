"""How a model that reads texts is built: a transformers backbone, and a new head."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from alpt_lib.checkpoints import check_fit, check_values, checked, hub_errors, weights_source
from alpt_lib.errors import ModelError, one_line
from alpt_lib.fast_layers import first_token_layer
from alpt_lib.files import hash_file, hashed

# their heads read the last token that is no padding, though they are not called `score`
READ_LAST = {"ctrl", "modernbert-decoder", "xlnet"}
# in single precision, and no code that lies in a model's folder is run
HOW: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
LEARNED_POSITIONS = re.compile(r"(wpe|pos\w*embed\w*|embed\w*pos\w*)$")


class TextClassifier(nn.Module):
    """A transformers sequence classifier. Batches are (n, n_tokens) int64 token ids, padded."""

    def __init__(self, network: Any, tokenizer: Any, max_tokens: int):
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        is_roberta = type(network).__name__ == "RobertaForSequenceClassification"
        if is_roberta and network.config._attn_implementation == "sdpa":
            network.roberta.encoder.layer[-1].__class__ = first_token_layer()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, n_classes) logits."""
        return self.network(input_ids=tokens, attention_mask=self._is_real(tokens)).logits

    def features(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, n_features) final hidden state of the token that the head reads.

        The first one; in a causal model, whose first token sees nothing of the text, the last one
        that is no padding; in an encoder-decoder, the decoder's at the end of the text.
        """
        if self.network.config.is_encoder_decoder:
            return self._given_to_head(tokens)
        is_real = self._is_real(tokens)
        backbone = self.network.base_model
        states = backbone(input_ids=tokens, attention_mask=is_real).last_hidden_state
        if not self.reads_last:
            return states[:, 0]
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        last = (positions * is_real).argmax(dim=1)
        return states[torch.arange(len(tokens), device=tokens.device), last]

    def logits_of_features(self, features: torch.Tensor) -> torch.Tensor:
        """(n, n_classes) what the head says to (n, n_features) hidden states.

        They are handed to the network as what its backbone made of a text of one token.
        """
        if self.network.config.is_encoder_decoder:
            return self.network.classification_head(features)
        backbone = self.network.base_model
        tokens = torch.full((len(features), 1), self.padding + 1, device=features.device)
        output = backbone(input_ids=tokens[:1])
        output.last_hidden_state = features[:, None]
        if getattr(backbone, "pooler", None):
            output.pooler_output = backbone.pooler(features[:, None])
        backbone.forward = lambda *_, **__: output
        try:
            return self(tokens)
        finally:
            del backbone.forward

    def _is_real(self, tokens: torch.Tensor) -> torch.Tensor:
        # 1 or 0: some networks calculate with it
        return (tokens != self.padding).long()

    def _given_to_head(self, tokens: torch.Tensor) -> torch.Tensor:
        given: list[torch.Tensor] = []
        head = self.network.classification_head
        with head.register_forward_pre_hook(lambda _, inputs: given.extend(inputs)):
            self(tokens)
        return given[0]

    @property
    def reads_last(self) -> bool:
        """Whether the head reads the last token that is no padding: causal models and XLNet."""
        return hasattr(self.network, "score") or self.network.config.model_type in READ_LAST

    @property
    def padding(self) -> int:
        """The token id that fills up shorter texts."""
        return self.tokenizer.pad_token_id

    @cached_property
    def n_positions(self) -> float:
        """The most tokens that the network has learned positions for; infinite if it has none."""
        intended = getattr(self.network.config, "max_position_embeddings", np.inf)
        for name, module in self.network.named_modules():
            if LEARNED_POSITIONS.search(name) and isinstance(module, nn.Embedding):
                # RoBERTa's kind counts from behind the padding's id
                unused = 0 if module.padding_idx is None else module.padding_idx + 1
                return min(intended, module.num_embeddings - unused)
        return np.inf

    @cached_property
    def tokens_kind(self) -> str:
        """16 hexadecimal digits of what decides a text's tokens: the tokenizer and `max_tokens`."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend:
            # which the last call has set
            backend.no_truncation()
            backend.no_padding()
            return hashed([backend.to_str(), self.max_tokens])
        # one that is written in Python
        given = self.tokenizer.init_kwargs
        files = [given[key] for key in self.tokenizer.vocab_files_names if given.get(key)]
        contents = [hash_file(Path(file)) for file in files]
        return hashed([type(self.tokenizer).__name__, repr(given), contents, self.max_tokens])

    def tokenize(self, texts: list[str]) -> np.ndarray:
        """(n, longest) int64 token ids, cut at max_tokens.

        Raises:
            ModelError: longer than what the network has positions for.
        """
        encoded = self.tokenizer(
            texts, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="np"
        )
        tokens = encoded["input_ids"].astype(np.int64)
        if tokens.shape[1] > self.n_positions:
            raise ModelError(
                f"a text has {tokens.shape[1]} tokens (max_tokens is {self.max_tokens}) but the "
                f"model has positions for {self.n_positions}: set max_tokens: {self.n_positions} "
                "in dataset.yaml"
            )
        return tokens


def build_text_classifier(
    base: str, weights: str | None, n_classes: int, max_tokens: int, is_pretrained: bool
) -> TextClassifier:
    """A backbone as pretrained, or drawn, and a new head.

    Args:
        base: "hf:NAME", "hf:FOLDER" or "mini-roberta-m". weights: a local folder, or None.
        max_tokens: longer texts are cut.
    Raises:
        ModelError: missing, does not fit, or cannot classify texts.
    """
    source = weights_source(base, weights)
    if source and not weights and not base.startswith("hf:"):
        for part in ("config.json", "model.safetensors", "tokenizer.json"):
            checked(source / part)
    name = str(source or base.removeprefix("hf:"))
    parts = f"config.json{', model.safetensors' if is_pretrained else ''} and the tokenizer's files"
    with hub_errors(f"transformers model {name}", name, parts, use=source is None):
        network, tokenizer = _load(name, n_classes, is_pretrained)
    model = TextClassifier(network, tokenizer, max_tokens)
    _set_padding(name, model)
    _try_out(name, model)
    return model


def _load(name: str, n_classes: int, is_pretrained: bool) -> tuple[Any, Any]:
    """The network and its tokenizer. Code that lies in a model's folder is never run."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    # the note that the head is new: it always is
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    config = AutoConfig.from_pretrained(name, num_labels=n_classes, trust_remote_code=False)
    if getattr(config, "quantization_config", None):
        raise ModelError(
            f"weights of {name} are quantised, which cannot be fine-tuned: take the float weights "
            "that they were made of"
        )
    kind = AutoModelForSequenceClassification
    if is_pretrained:
        return _from_pretrained(kind, name, config), tokenizer
    return kind.from_config(config, **HOW), tokenizer


def _from_pretrained(kind: Any, name: str, config: Any) -> Any:
    """A pretrained backbone with a new head, whatever head its checkpoint holds."""
    network, report = kind.from_pretrained(
        name,
        config=config,
        weights_only=True,
        # of a head for another number of classes
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **HOW,
    )
    prefix = network.base_model_prefix
    state = network.state_dict()
    backbone = {key: state[key] for key in state if key.startswith(f"{prefix}.")}
    # transformers draws in silence what does not fit; a pooler is new after a language model
    missing = {key for key in report["missing_keys"] if "pooler" not in key}
    misfits = {key for key, *_ in report["mismatched_keys"]}
    check_fit(name, backbone.keys(), missing & backbone.keys(), set(), misfits & backbone.keys())
    check_values(name, backbone)
    if not report["missing_keys"] >= state.keys() - backbone.keys():
        # fine-tuned before: its head knows labels
        for part, module in kind.from_config(config, **HOW).named_children():
            if part != prefix:
                setattr(network, part, module)
    return network


def _set_padding(name: str, model: TextClassifier) -> None:
    """Have texts padded behind their end, with a token that the network takes for padding.

    Causal models often come without one; the token that ends their texts takes its place.

    Raises:
        ModelError: a tokenizer without padding, or without its vocabulary.
    """
    tokenizer = model.tokenizer
    if tokenizer.pad_token_id is None and model.reads_last:
        tokenizer.pad_token = tokenizer.eos_token
    if len(tokenizer) < 100 or tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer in {name} has {len(tokenizer)} tokens and pad token "
            f"{tokenizer.pad_token}; it needs its vocabulary files and a padding token"
        )
    config = model.network.config
    config.get_text_config().pad_token_id = tokenizer.pad_token_id
    # XLNet's head reads the last position
    tokenizer.padding_side = "left" if config.model_type == "xlnet" else "right"


def _try_out(name: str, model: TextClassifier) -> None:
    """Refuse a network that cannot read texts, before anything runs."""
    model.eval()
    tokens = torch.from_numpy(
        model.tokenize(["a text of a few words, to try", "another, also of a few words"])
    )
    try:
        with torch.no_grad():
            model(tokens)
            model.features(tokens)
    # 127 kinds of networks fail in their own ways
    except Exception as error:
        raise ModelError(
            f"transformers model {name} cannot classify texts: {one_line(error)[:200]}"
        ) from error
