"""Networks whose weights only a hub has: an error, or left out where the parameters allow it."""

import pytest
import yaml
from paper_models import TINY_BIT, tiny_bit_npz

from alpt_lib.errors import ModelError
from companion.cli import main
from companion.runs import at_hand
from companion.runs.at_hand import within_reach
from companion.runs.plan import plan_runs


@pytest.fixture
def given(birds_folder, tmp_path) -> dict:
    """A setting of three networks, one from a file, two that are on a hub."""
    name, file = tiny_bit_npz(tmp_path)
    return {
        "preset": "real",
        "datasets": [str(birds_folder)],
        "models": ["bit-m-np"],
        "acquisitions": ["random", "least_confidence"],
        "seeds": [1, 2],
        "weights": {name: str(file)},
        "recipe": {"backbone": "frozen"},
        "settings": {
            "foundation models": {"models": [name, "clip-b32", "dinov2-s"], "optional": True}
        },
    }


def models(planned) -> list[str]:
    return list(dict.fromkeys(each.model for each in planned))


def test_what_no_hub_gives_is_left_out_where_it_is_optional_and_said_in_a_line(given):
    planned = plan_runs(given)
    kept, (line,) = within_reach(planned)
    assert models(planned) == ["bit-m-np", TINY_BIT, "clip-b32", "dinov2-s"]
    assert models(kept) == ["bit-m-np", TINY_BIT]
    assert line.startswith("foundation models: left out clip-b32, dinov2-s, whose weights are not")
    assert line.endswith("with weights: {clip-b32: FILE} or a hub they are there")


def test_a_hub_that_answers_is_asked_and_what_is_not_optional_stays(given, monkeypatch):
    monkeypatch.setattr(at_hand, "hub_answers", lambda: True)
    planned = plan_runs(given)
    assert within_reach(planned) == (planned, [])
    monkeypatch.undo()
    given["settings"]["foundation models"]["optional"] = False
    planned = plan_runs(given)
    assert within_reach(planned) == (planned, [])


def test_weights_that_are_named_and_not_there_are_an_error_though_optional(given, tmp_path):
    given["weights"] = {"clip-b32": str(tmp_path / "nowhere.safetensors")}
    with pytest.raises(ModelError, match="weights not found"):
        within_reach(plan_runs(given))


@pytest.mark.parametrize("is_optional", [True, False])
def test_the_command_goes_on_without_them_and_draws_the_others(given, home, capsys, is_optional):
    given["settings"]["foundation models"]["optional"] = is_optional
    given["protocol"] = {"budget": 4, "query_batch_size": 4}
    del given["preset"]
    options = ["--preset", "real", "--only", "12", "--workers", "1", "--set", yaml.safe_dump(given)]
    status = main(["run", "--quiet", *options])
    said = capsys.readouterr()
    drawn = home / "figures" / "custom" / "12_other_ways_to_ask"
    if is_optional:
        assert status == 0
        assert said.out.count("left out clip-b32, dinov2-s") == 1
        assert "left out clip-b32, dinov2-s" in (drawn / "12_other_ways_to_ask.ipynb").read_text()
        assert (
            TINY_BIT.removeprefix("timm:").partition("?")[0]
            in (drawn / "by_network.svg").read_text()
        )
    else:
        assert status == 1
        assert "is not on this machine and the hub did not deliver it" in said.err
