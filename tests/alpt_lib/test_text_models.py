"""Text models: their heads are new, features are what the head reads, what cannot work is said."""

import json
import shutil

import pytest
import torch
import transformers
from paper_models import tiny_roberta
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from alpt_lib import datasets
from alpt_lib.errors import ModelError
from alpt_lib.models import TextClassifier, create_model

TEXTS = ["the book was good and I read it twice", "a poor story", "fine"]


@pytest.fixture
def reviews(reviews_folder):
    return datasets.read_dataset(reviews_folder)


@pytest.fixture(scope="session")
def shared_roberta(tmp_path_factory):
    return tiny_roberta(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def roberta(shared_roberta, tmp_path):
    return shutil.copytree(shared_roberta, tmp_path / "roberta")


def test_a_folder_as_on_the_hub_gives_its_encoder_under_a_new_head(reviews, roberta):
    model = create_model("hf:roberta-large", reviews, str(roberta), 1)
    stored = load_file(roberta / "model.safetensors")
    state = model.network.state_dict()
    encoder = {k: v for k, v in state.items() if k.startswith("roberta.")}
    assert len(encoder) > 30
    assert all(torch.equal(v, stored[k]) for k, v in encoder.items())
    assert model.network.classifier.out_proj.weight.shape == (2, 16)
    # <s>
    assert model.tokenize(["the book", "a"]).tolist()[1][0] == 0


@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_classifier_that_was_fine_tuned_before_starts_with_a_new_head(
    reviews, roberta, tmp_path, n_classes
):
    tuned = AutoModelForSequenceClassification.from_pretrained(roberta, num_labels=n_classes)
    for parameter in tuned.parameters():
        nn.init.constant_(parameter, 0.7)
    tuned.save_pretrained(roberta)
    networks = [create_model(f"hf:{roberta}", reviews, None, seed).network for seed in (1, 1, 2)]
    first, again, other = (network.classifier.state_dict() for network in networks)
    assert first["out_proj.weight"].shape == (2, 16)
    for name, value in first.items():
        # as transformers draws it: normal weights of 0.02, zero biases
        assert value.abs().max() < (0.1 if "weight" in name else 1e-9)
        assert torch.equal(value, again[name])
    assert not torch.equal(first["dense.weight"], other["dense.weight"])
    assert all((p == 0.7).all() for p in networks[0].roberta.parameters())


def test_a_text_model_that_is_not_pretrained_takes_only_configuration_and_tokenizer(
    reviews, roberta
):
    (roberta / "model.safetensors").unlink()
    first, other = (
        create_model(f"hf:{roberta}-np", reviews, None, seed).network.roberta.state_dict()
        for seed in (1, 2)
    )
    words = "embeddings.word_embeddings.weight"
    assert first[words].shape == (274, 16)
    assert not torch.equal(first[words], other[words])


def rewrite(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def change_weights(folder, change):
    file = folder / "model.safetensors"
    save_file({k: change(k, v) for k, v in load_file(file).items()}, file, {"format": "pt"})


def with_nan(name, value):
    return value.fill_(torch.nan) if name.endswith("query.bias") else value


def as_pointer(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 345\n")


def without_vocabulary(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def with_own_code(folder):
    classes = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    rewrite(folder, auto_map=classes, model_type="own")
    (folder / "own.py").write_text("raise SystemExit('this code must not run')")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: rewrite(f, hidden_size=32), r"0 of \d+ tensors missing, 0 unknown, \d\d of"),
        (lambda f: rewrite(f, num_hidden_layers=3), r"16 of \d+ tensors missing, 0 unknown, 0 of"),
        (lambda f: rewrite(f, quantization_config={"quant_method": "gptq"}), "are quantised"),
        (lambda f: rewrite(f, model_type="vit"), "cannot be read, it needs config.json.*vit"),
        (with_own_code, "it needs code of its own, which is never run"),
        (lambda f: change_weights(f, with_nan), r"NaN or infinite values: 2 of \d+ tensors, first"),
        (
            lambda f: change_weights(f, lambda _, v: (50 * v).to(torch.int8)),
            r"are quantised: \d+ of \d+ tensors hold whole numbers, first .*take the float weights",
        ),
        (lambda f: as_pointer(f / "model.safetensors"), "is a git-lfs pointer.*run git lfs pull"),
        (lambda f: as_pointer(f / "tokenizer.json"), "tokenizer.json is a git-lfs pointer"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}"),
            "cannot be read, it needs config.json, model.safetensors and.*: SafetensorError",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "OSError: Error no file named"),
        (lambda f: (f / "tokenizer.json").unlink(), "cannot be read, it needs .*the tokenizer's"),
        (without_vocabulary, "has 5 tokens and pad token <pad>; it needs its vocabulary files"),
        (
            lambda f: (f / "adapter_config.json").touch(),
            "holds an adapter.*merge it into its model",
        ),
    ],
)
def test_a_folder_that_does_not_serve_is_refused_in_a_line(reviews, roberta, spoil, said):
    spoil(roberta)
    with pytest.raises(ModelError, match=said) as error:
        create_model(f"hf:{roberta}", reviews, None, 1)
    assert "\n" not in str(error.value)
    assert "hub did not deliver" not in str(error.value)


def network(kind: str, pad_token_id=1, eos_token_id=2, **settings) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    special = {"pad_token_id": pad_token_id, "eos_token_id": eos_token_id}
    config = transformers.AutoConfig.for_model(kind, **special, **settings)
    return transformers.AutoModel.from_config(config)


def gpt2():
    return network("gpt2", vocab_size=274, n_embd=16, n_layer=2, n_head=2, n_positions=20)


def t5(vocab_size=274, **special):
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2}
    return network("t5", vocab_size=vocab_size, decoder_start_token_id=0, **sizes, **special)


def xlnet():
    return network("xlnet", vocab_size=274, d_model=16, n_layer=2, n_head=2, d_inner=32)


def bert():
    sizes = {"hidden_size": 16, "intermediate_size": 32}
    return network("bert", vocab_size=274, num_hidden_layers=2, num_attention_heads=2, **sizes)


def head_of(model: TextClassifier, features: torch.Tensor) -> torch.Tensor:
    """The logits that the head gives on features, as each network documents it."""
    network = model.network
    if hasattr(network, "score"):
        return network.score(features)
    if hasattr(network, "classification_head"):
        return network.classification_head(features)
    if hasattr(network, "logits_proj"):
        return network.logits_proj(network.sequence_summary(features[:, None]))
    if hasattr(network, "bert"):
        return network.classifier(network.bert.pooler(features[:, None]))
    return network.classifier(features[:, None])


@pytest.mark.parametrize("build", [None, bert, gpt2, t5, xlnet])
@pytest.mark.parametrize("has_padding", [True, False])
def test_features_are_what_the_head_reads_however_texts_are_padded(
    reviews, roberta, build, has_padding
):
    if build:
        build().save_pretrained(roberta)
        tokenizer = AutoTokenizer.from_pretrained(roberta)
        tokenizer.padding_side = "left"
        if build is gpt2 and not has_padding:
            tokenizer.pad_token = None
        tokenizer.save_pretrained(roberta)
    model = create_model(f"hf:{roberta}", reviews, None, 1).eval()
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        tokens = torch.from_numpy(model.tokenize(TEXTS))
        features = model.features(tokens)
        alone = [torch.from_numpy(model.tokenize([text])) for text in TEXTS]
        assert (features[0] - features[2]).abs().max() > 0.01
        assert torch.allclose(head_of(model, features), model(tokens), atol=1e-5)
        assert torch.allclose(model.logits_of_features(features), model(tokens), atol=1e-5)
        assert torch.allclose(torch.cat([model.features(t) for t in alone]), features, atol=1e-5)
        assert torch.allclose(torch.cat([model(t) for t in alone]), model(tokens), atol=1e-5)


def test_a_tokenizer_written_in_python_serves(reviews, tmp_path):
    t5(vocab_size=384, pad_token_id=0, eos_token_id=1).save_pretrained(tmp_path)
    transformers.ByT5Tokenizer().save_pretrained(tmp_path)
    model = create_model(f"hf:{tmp_path}", reviews, None, 1)
    before = model.tokens_kind
    # bytes are numbered from 3, </s> is 1
    assert model.tokenize(["ab", "c"]).tolist() == [[100, 101, 1], [102, 1, 0]]
    again = create_model(f"hf:{tmp_path}", reviews, None, 2)
    again.tokenize(TEXTS)
    assert before == again.tokens_kind
    assert TextClassifier(model.network, model.tokenizer, max_tokens=9).tokens_kind != before


def test_the_tokenizer_and_its_limit_name_the_tokens(reviews, roberta):
    def kind() -> str:
        model = create_model(f"hf:{roberta}", reviews, None, 1)
        model.tokenize(TEXTS)
        return model.tokens_kind

    before = kind()
    assert create_model(f"hf:{roberta}", reviews, None, 2).tokens_kind == before
    tokenizer = json.loads((roberta / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].pop()
    (roberta / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert kind() != before


def test_a_text_longer_than_the_models_positions_names_max_tokens(reviews, roberta):
    # RoBERTa's first two positions belong to padding
    rewrite(roberta, max_position_embeddings=14)
    model = create_model(f"hf:{roberta}-np", reviews, None, 1)
    model = TextClassifier(model.network, model.tokenizer, max_tokens=40)
    assert model.n_positions == 12
    # with <s> and </s>
    assert model.tokenize(["z" * 10]).shape == (1, 12)
    said = "has 13 tokens .max_tokens is 40. but the model has positions for 12: set max_tokens: 12"
    with pytest.raises(ModelError, match=said):
        model.tokenize(["z" * 11])
