"""Runs killed by SIGKILL and started again leave the bytes of a run that was never killed."""

import signal

import pytest
from toy_runs import in_a_process, new_home, rows_of


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory, birds_folder, decoded):
    """What each setting stores if it is left alone, made when first asked for."""
    made: dict[str, dict[str, bytes]] = {}

    def whole(setting: str) -> dict[str, bytes]:
        if setting not in made:
            home = new_home(tmp_path_factory.mktemp("whole") / setting, decoded)
            assert in_a_process(home, birds_folder, setting) == 0
            made[setting] = rows_of(home)
        return made[setting]

    return whole


@pytest.mark.parametrize(
    ("setting", "phase", "nth", "delay"),
    [
        # in the seed-set fit that both arms share
        ("paper", "training", 3, 0.0),
        ("paper", "training", 30, 0.002),
        ("paper", "scoring", 7, 0.001),
        # config.json is half there
        ("paper", "writing", 0, 0.0),
        # a round is written and not yet flushed to the disk
        ("paper", "writing", 4, 0.0),
        # the momentum of earlier fits has to be made again
        ("released", "training", 40, 0.001),
        ("dropout", "scoring", 3, 0.0),
        ("frozen", "training a head", 11, 0.0),
        ("frozen", "writing unsynced", 7, 0.0),
    ],
)
def test_a_run_killed_at_any_moment_ends_with_the_rows_of_one_never_killed(
    birds_folder, tmp_path, decoded, never_killed, setting, phase, nth, delay
):
    home = new_home(tmp_path / "killed", decoded)
    assert in_a_process(home, birds_folder, setting, phase, nth, delay) == -signal.SIGKILL
    assert rows_of(home) != never_killed(setting)
    assert in_a_process(home, birds_folder, setting) == 0
    assert rows_of(home) == never_killed(setting)
    assert [*home.glob("runs/*/*.partial"), *home.glob("runs/*/*.damaged")] == []


def test_a_run_killed_while_it_decodes_images_leaves_no_half_cache(
    birds_folder, tmp_path, never_killed
):
    home = new_home(tmp_path / "killed", tmp_path)
    assert in_a_process(home, birds_folder, "paper", "decoding", 60, 0.0) == -signal.SIGKILL
    assert in_a_process(home, birds_folder, "paper") == 0
    assert rows_of(home) == never_killed("paper")
