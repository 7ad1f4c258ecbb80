"""What claims measure, how they are judged, and how they compare with the reference."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alpt_lib.errors import CompanionError
from companion.report import claims, measures, reference
from companion.report.claims import CLAIMS
from companion.report.estimates import Interval, t_interval
from companion.report.verdicts import Claim, seeds_needed, size, verdict, verdict_in_words


def study(gain: dict[int, float], dataset: str = "waterbirds") -> SimpleNamespace:
    """Random ends at 0.5 on every seed, least confidence at 0.5 plus the given gain."""
    run = {"dataset": dataset, "model": "bit-m", "stopping": "loss_ratio"}
    rows = []
    asked = []
    for seed, more in gain.items():
        for arm, end in (("random", 0.5), ("least_confidence", 0.5 + more)):
            of_run = {**run, "acquisition": arm, "seed": seed, "run_id": f"{arm}{seed}"}
            measured = {**of_run, "split": "val", "subgroup": "all", "metric": "accuracy"}
            rows.append({**measured, "round": 0, "n_labels": 40, "value": 0.4})
            rows.append({**measured, "round": 1, "n_labels": 60, "value": end})
            asked += [{**of_run, "round": 1, "subgroup": group} for group in ("a/x", "a/y")]
    data = SimpleNamespace(
        description=SimpleNamespace(default_model="bit-m"),
        eval_splits=["val"],
        minority=["a/y"],
        subgroup=lambda split: np.array(["a/x"] * 9 + ["a/y"], dtype=object),
    )
    return SimpleNamespace(
        metrics=pd.DataFrame(rows),
        acquisitions=pd.DataFrame(asked),
        datasets={dataset: data},
        parameters={"preset": "mini"},
        save_table=lambda table, name: None,
    )


def test_gains_are_paired_by_seed():
    by_seed = measures.gains(study({1: 0.1, 2: 0.3}), "waterbirds", "accuracy")
    assert by_seed.to_dict() == pytest.approx({1: 0.1, 2: 0.3})


def test_an_oversampled_minority_has_a_ratio_above_one():
    assert measures.ratios(study({1: 0.1}), "waterbirds").tolist() == pytest.approx([0.5 / 0.1])


def test_label_savings_of_a_curve_twice_as_steep():
    saved = measures.saved_labels("waterbirds", "accuracy")(study({1: 0.1, 2: 0.1}))
    assert (saved.estimate, saved.low, saved.high) == pytest.approx((2.0, 2.0, 2.0))


def test_one_seed_gives_no_verdict():
    gain = measures.gain("waterbirds", "accuracy")(study({1: 0.1}))
    assert gain.n == 1
    assert np.isnan(gain.low)


NOT_ABOVE = {"expect": "not above"}
EQUAL = {"expect": "equal", "margin": 0.05}


def claim(**settings) -> Claim:
    return Claim("x", "y", lambda study: None, **settings)


@pytest.mark.parametrize(
    ("settings", "interval", "expected"),
    [
        ({}, (0.1, 0.05, 0.15), "supported"),
        ({}, (0.1, -0.05, 0.25), "undecided"),
        ({}, (-0.1, -0.2, 0.0), "undecided"),
        ({}, (-0.1, -0.2, -0.01), "contradicted"),
        ({}, (0.1, np.nan, np.nan), "not testable"),
        ({"null": 1.0}, (1.1, 0.9, 1.3), "undecided"),
        # a loss is no gain; a wide interval shows nothing
        (NOT_ABOVE, (-0.1, -0.2, 0.0), "supported"),
        (NOT_ABOVE, (0.0, -0.01, 0.015), "supported"),
        (NOT_ABOVE, (0.0, -0.1, 0.1), "undecided"),
        (NOT_ABOVE, (0.1, 0.05, 0.15), "contradicted"),
        (EQUAL, (0.0, -0.04, 0.04), "supported"),
        (EQUAL, (0.0, -0.1, 0.1), "undecided"),
        (EQUAL, (-0.1, -0.2, -0.06), "contradicted"),
    ],
)
def test_the_interval_alone_gives_the_verdict(settings, interval, expected):
    ours = Interval(*interval, 5)
    for preset in ("mini", "paper"):
        assert verdict(claim(**settings, paper=9.0), ours, preset) == expected
    smoke = expected if expected == "not testable" else "too small to judge"
    assert verdict(claim(**settings), ours, "smoke") == smoke


@pytest.mark.parametrize(
    ("settings", "values"),
    [({}, [0.3, -0.1, 0.2, -0.2]), (NOT_ABOVE, [0.1, -0.1, 0.02]), (EQUAL, [0.1, -0.1, 0.03])],
)
def test_an_undecided_claim_says_how_many_seeds_would_settle_it(settings, values):
    values = pd.Series(values)
    ours = t_interval(values)
    needed = seeds_needed(claim(**settings), ours)
    assert verdict(claim(**settings), ours, "mini") == "undecided"
    for n, expected in ((needed, True), (needed - 1, False)):
        scale = values.std() / np.sqrt(n)
        interval = Interval(ours.estimate, *stats.t.interval(0.95, n - 1, ours.estimate, scale), n)
        assert (verdict(claim(**settings), interval, "mini") != "undecided") == expected
    assert verdict_in_words("undecided", needed) == f"undecided (~{needed:.0f} seeds)"


def test_what_no_number_of_seeds_settles_says_so():
    needed = seeds_needed(claim(), Interval(0.0, -0.1, 0.1, 5))
    assert verdict_in_words("undecided", needed) == "undecided (>1,000 seeds)"
    assert verdict_in_words("supported", np.nan) == "supported"


@pytest.mark.parametrize(
    ("paper", "expected"),
    [(0.1, "as the paper's"), (0.3, "smaller"), (0.0, "larger"), (None, "")],
)
def test_the_papers_number_is_compared_and_not_judged(paper, expected):
    assert size(claim(paper=paper), Interval(0.1, 0.05, 0.15, 5)) == expected


def test_no_claim_stands_twice():
    statements = [c.statement for of_notebook in CLAIMS.values() for c in of_notebook]
    assert len(set(statements)) == len(statements)
    stored = pd.read_csv(reference.REFERENCE / "mini" / "claims.csv").query("n_seeds > 0")
    assert not stored.duplicated(["ours", "ci_low", "ci_high"]).any()


def test_a_claim_says_what_it_compares():
    table = claims.check_claims("01_accuracy_curves", study({1: 0.1, 2: 0.3}))
    row = table.set_index("claim").loc["Waterbirds: accuracy above random"]
    assert row["levels"] == "least confidence ends at 0.70, random at 0.50"
    assert (row["claimed"], row["size"]) == ("above 0", "as the paper's")


def test_a_claim_without_its_data_is_not_testable():
    table = claims.check_claims("01_accuracy_curves", study({1: 0.1, 2: 0.1}, dataset="mine"))
    assert set(table["verdict"]) == {"not testable"}
    assert table["claim"].tolist() == [c.statement for c in CLAIMS["01_accuracy_curves"]]


def test_what_users_name_is_shown_as_text():
    from companion.report.plotting import show_table

    shown = show_table(pd.DataFrame({"<b>x</b>": ["<script>alert(1)</script>"]})).to_html()
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown


# --- the reference


def estimate(claim: str, ours: float, low: float, high: float) -> dict:
    return {"notebook": "01", "claim": claim, "ours": ours, "ci_low": low, "ci_high": high}


OURS = pd.DataFrame(
    [
        estimate("a", 0.1, 0.0, 0.2),
        estimate("b", 0.1, 0.0, 0.2),
        estimate("c", 0.1, np.nan, np.nan),
        estimate("new", 0.1, 0.0, 0.2),
    ]
)


def test_a_claim_agrees_with_the_reference_where_the_intervals_overlap():
    theirs = pd.DataFrame(
        [
            estimate("c", 0.1, 0.0, 0.2),
            estimate("b", 0.4, 0.3, 0.5),
            estimate("a", 0.3, 0.2, 0.4),
            estimate("old", 0.1, 0.0, 0.2),
        ]
    )
    table = reference.compare(OURS, theirs)
    assert table["claim"].tolist() == ["a", "b", "c", "new"]
    assert table["compared"].tolist() == ["agrees", "differs", "", ""]
    assert table["reference"].tolist()[:3] == [0.3, 0.4, 0.1]
    line = reference.in_one_line(table, "mini")
    assert line.startswith("1 of 2 agree with the reference")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no figures/reference/mini"),
        ("claim,verdict\na,supported\n", "an older version"),
        ("", "an older version"),
        ("notebook,claim,ours,ci_low,ci_high\n01,other,x,y,z\n", "of other claims"),
    ],
)
def test_a_missing_or_old_reference_is_said(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path)
    if content is not None:
        (tmp_path / "mini").mkdir()
        (tmp_path / "mini" / "claims.csv").write_text(content)
    table = reference.compare(OURS, reference.read_reference("mini"))
    assert set(table["compared"]) == {""}
    assert said in reference.in_one_line(table, "mini")


def test_what_a_run_drew_becomes_the_reference_unless_it_is_less(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    drawn = tmp_path / "mini"
    for name in ("01", "02"):
        (drawn / name).mkdir(parents=True)
        (drawn / name / f"{name}.ipynb").write_text("{}")
    with pytest.raises(CompanionError, match="holds no figures of a run"):
        reference.renew(drawn)
    (drawn / "claims.csv").write_text("one")
    target = reference.renew(drawn)
    (target / "01" / "stale.png").touch()
    (drawn / "claims.csv").write_text("two")
    assert reference.renew(drawn) == target
    assert (target / "claims.csv").read_text() == "two"
    assert sorted(path.name for path in target.rglob("*.*")) == [
        "01.ipynb",
        "02.ipynb",
        "claims.csv",
    ]
    (drawn / "02" / "02.ipynb").unlink()
    with pytest.raises(CompanionError, match="lacks 02, which the reference has"):
        reference.renew(drawn)
