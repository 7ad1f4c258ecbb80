"""Tables and figures over acquisition functions: what they count, on runs of toy birds."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from companion.report import asking, later_claims
from companion.report.measures import NotTestable
from companion.report.study import run_study

mpl.use("Agg")
ARMS = ["random", "least_confidence", "core_set", "cheating_group_balance"]


@pytest.fixture
def study(birds_folder, home):
    given = {
        "datasets": [str(birds_folder)],
        "models": ["bit-m-np"],
        "recipe": {"backbone": "frozen"},
        "acquisitions": ARMS,
        "seeds": [1, 2, 3],
        "settings": {"by 1": {"protocol": {"query_batch_size": 1}, "acquisitions": ARMS[:2]}},
        "workers": 1,
    }
    return run_study("12_other_ways_to_ask", given)


def test_shares_are_counted_over_queried_examples_of_the_minority(study):
    shares = asking.shares_asked(study)
    assert len(shares) == 4 * 3
    data = study.datasets["toybirds"]
    pool = np.isin(data.subgroup("pool"), data.minority).mean()
    for row in shares.itertuples():
        runs = study.acquisitions
        own = runs[(runs.acquisition == row.acquisition) & (runs.seed == row.seed)]
        asked = own[own["round"] > 0].subgroup.isin(data.minority).mean()
        assert row.value == pytest.approx(asked / pool)
    labels = asking.shares_asked(study, "label")
    # both classes are as frequent
    assert labels.share_pool.tolist() == [0.5] * 12
    means = shares.groupby("acquisition").value.mean()
    assert means.idxmax() == "cheating_group_balance"


def test_gains_are_paired_within_each_setting(study):
    gains = asking.gains_by_setting(study)
    shown = gains[gains.metric == "accuracy"].groupby("setting", sort=False).acquisition.apply(list)
    assert shown.to_dict() == {asking.AS_ABOVE: ARMS[1:], "by 1": ARMS[1:2]}
    final = study.settings["by 1"].main.query("metric == 'accuracy' and subgroup == 'all'")
    final = final[final["round"] == 12].pivot(index="seed", columns="acquisition", values="value")
    by_hand = (final.least_confidence - final.random).mean()
    row = gains.query("setting == 'by 1' and metric == 'accuracy'")
    assert row.gain.item() == pytest.approx(by_hand)


def test_networks_stand_in_the_order_of_the_images_that_they_were_pretrained_on():
    models = ["siglip-b16", "timm:of_ones_own", "lite0", "dinov2-s"]
    rows = [(m, a) for m in models for a in ("badge", "least_confidence")]
    gains = pd.DataFrame(rows, columns=["model", "acquisition"])
    gains = gains.assign(gain=np.arange(8.0), ci_low=-1.0, ci_high=9.0)
    asked = pd.DataFrame([(*row, seed, 2.0) for row in rows for seed in (1, 2)])
    asked.columns = ["model", "acquisition", "seed", "value"]
    figure = asking.by_network(gains, asked)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "Lite0\n1.28 M images",
        "DINOv2 S/14\n142 M images",
        "SigLIP B/16\n10 bn images",
        "of_ones_own\n",
    ]
    # of each network the dots of both functions, the first above the second
    dots = {
        line.get_xdata()[0]: line.get_ydata()[0]
        for line in right.lines
        if len(line.get_xdata()) == 1
    }
    rows_of = {"siglip-b16": 2, "timm:of_ones_own": 3, "lite0": 0, "dinov2-s": 1}
    expected = [rows_of[model] + shift for model in models for shift in (-0.12, 0.12)]
    assert [dots[gain] for gain in range(8)] == pytest.approx(expected)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["BADGE", "least confidence"]


def test_every_function_is_timed_on_the_same_model(study):
    times = asking.query_times(study)
    assert times.acquisition.tolist() == ARMS
    # 8 of the seed set and all but the last query batch of 4
    assert set(times.n_labels) == {16}
    assert times.milliseconds.between(0.01, 10_000).all()


def test_the_table_and_the_figures_hold_every_function_once(study):
    gains = asking.gains_by_setting(study)
    own = gains[gains.setting == asking.AS_ABOVE]
    asked = asking.shares_asked(study)
    columns = {"rare groups": asked, "rarest class": asking.shares_asked(study, "label")}
    table = asking.side_by_side(own, asking.query_times(study), **columns)
    assert table.acquisition.tolist() == ARMS
    assert table["rarest class: times their share"].str.fullmatch(r"[\d.]+ \(.+ to .+\)").all()
    figure = asking.found_and_gained(own, asked, ["accuracy_minority", "accuracy"])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[0] == "groups balanced (cheats)"
    assert len(set(names)) == 3
    # two lines each, and random's
    assert [len(ax.lines) for ax in figure.axes] == [7, 7, 7]
    figure = asking.dots_grid(gains[gains.metric == "accuracy"], ["setting"], {("by 1",): "By 1"})
    assert "By 1" in (figure.axes[0].get_title(), figure.axes[0].get_title(loc="left"))
    mpl.pyplot.close("all")


def test_claims_within_a_setting_look_at_its_runs_alone(study):
    measure = later_claims.within("by 1", lambda given: given)
    assert measure(study) is study.settings["by 1"]
    with pytest.raises(NotTestable, match="no setting 'by 7'"):
        later_claims.within("by 7", lambda given: given)(study)
    with pytest.raises(NotTestable, match="no setting 'by 7'"):
        later_claims.between("by 7", "by 1", "least_confidence")(study)


def test_every_setting_that_a_claim_names_is_one_of_the_notebook():
    from companion import notebook_text

    settings = notebook_text.tagged_literals("12_other_ways_to_ask")["settings"]
    named = {later_claims.OTHER_PRETRAINING, later_claims.LOW_BUDGET, later_claims.SMALL_SEED_SET}
    assert named | {later_claims.ONE_BY_ONE, later_claims.AT_ONCE} <= set(settings)
    # the reference's are these and the miniatures
    thorough = notebook_text.preset_parameters("thorough", "12_other_ways_to_ask")["settings"]
    assert thorough.pop("miniatures")["datasets"] == ["treeperson", "digits", "iwildcam", "amazon"]
    assert thorough == settings


def test_networks_of_one_pool_are_compared_seed_by_seed_and_with_their_other_seeds(
    birds_folder, birds_copy, home
):
    # the same pictures under another name
    described = (birds_copy / "dataset.yaml").read_text()
    (birds_copy / "dataset.yaml").write_text(described.replace("name: toybirds", "name: again"))
    given = {
        "datasets": [str(birds_folder), str(birds_copy)],
        "models": ["bit-m-np", "bit-m-deep-np"],
        "acquisitions": ["least_confidence"],
        "recipe": {"backbone": "frozen"},
        "seeds": [1, 2],
        "workers": 1,
    }
    study = run_study("04_pretraining", given)
    common = asking.in_common(study)
    own, deep = "not pretrained, frozen", "deep, not pretrained, frozen"
    names = [own, deep, f"{own} (again)", f"{deep} (again)"]
    assert set(common.pool) == {"toybirds"}
    assert list(common.network.unique()) == names
    assert len(common) == 10 * 2

    def asked(dataset, model, seed):
        of = study.acquisitions
        of = of[(of.dataset == dataset) & (of.model == model) & (of.seed == seed)]
        return of[of["round"] > 0]["index"].tolist()

    def value(one, other, seed):
        return common.query("network == @one and other == @other and seed == @seed").value.item()

    both = [asked("toybirds", model, 2) for model in ("bit-m-np", "bit-m-deep-np")]
    assert value(own, deep, 2) == pytest.approx(sum(i in both[1] for i in both[0]) / 12)
    seeds = [asked("toybirds", "bit-m-np", seed) for seed in (1, 2)]
    assert value(own, own, 1) == pytest.approx(sum(i in seeds[1] for i in seeds[0]) / 12)
    # 100 in the pool, 8 in the seed set, 12 asked
    assert common.by_chance.tolist() == pytest.approx([12 / 92] * 20)
    # the same network, pictures and seed
    assert value(own, f"{own} (again)", 1) == 1
