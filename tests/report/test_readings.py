"""What a notebook reads and the page answers: sentences with the numbers of the tables."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from companion.report.claims import CLAIMS, COLUMNS, HEADLINES
from companion.report.readings import answer, compared_in_size, counted, reading, unclaimed


def row(claim: str, verdict: str, **changes) -> dict:
    usual = {
        **{"claim": claim, "source": "5.1", "claimed": "above 0", "paper": np.nan, "ours": 0.031},
        **{"ci_low": 0.02, "ci_high": 0.042, "n_seeds": 16, "size": "", "verdict": verdict},
        **{"seeds_needed": np.nan, "levels": "least confidence ends at 0.82, random at 0.79"},
    }
    return {**usual, **changes}


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


STUDY = SimpleNamespace(
    title=lambda dataset, model: f"{dataset} by {model}",
    output=SimpleNamespace(name="01_accuracy_curves"),
)
GAIN = {"dataset": "mine", "model": "m", "metric": "accuracy", "acquisition": "margin"}
GAIN |= {"random": 0.7, "own": 0.65, "gain": -0.05, "ci_low": -0.06, "ci_high": -0.04}


def test_a_reading_says_what_is_compared_by_how_much_and_how_sure():
    claims = table(
        row("Birds", "supported", paper=0.11, size="smaller"),
        row("Times", "supported", claimed="above 1", ours=5.7, ci_low=5.6, ci_high=5.8, levels=""),
        row("Fish", "undecided", seeds_needed=9, ci_low=-0.01),
        row("No data", "not testable"),
    )
    said = reading(STUDY, claims, pd.DataFrame([{**GAIN, "n_seeds": 3}]), ["more"])
    assert said.lead == "2 of 3 claims are supported, 1 undecided."
    ends = "least confidence ends at 0.82, random at 0.79"
    assert said.lines == [
        f"Undecided (~9 seeds). Fish: {ends}: +0.031 (−0.010 to +0.042), 16 seeds",
        f"Supported. Birds: {ends}: +0.031 (+0.020 to +0.042), 16 seeds; the paper's: 0.11",
        "Supported. Times: 5.70 times (5.60 to 5.80), 16 seeds",
        "mine by m, accuracy: margin ends at 0.65, random at 0.70: −0.050 (−0.060 to −0.040), "
        "3 seeds",
        "more",
    ]
    assert str(said).splitlines()[0] == said.lead


def test_gains_under_two_stopping_rules_are_told_apart():
    gains = pd.DataFrame([{**GAIN, "stopping": rule, "n_seeds": 3} for rule in ("a", "b_c")])
    starts = [line.partition(": margin")[0] for line in reading(STUDY, gains=gains).lines]
    assert starts == ["mine by m, a, accuracy", "mine by m, b c, accuracy"]


def test_what_users_name_is_text_in_a_reading():
    said = reading(STUDY, lines=["<script>alert(1)</script>"])
    assert "<script>" not in said._repr_html_()
    assert "&lt;script&gt;" in said._repr_html_()


def test_gains_on_data_that_the_notebook_does_not_name_are_read_without_a_claim():
    gains = pd.DataFrame([GAIN, {**GAIN, "dataset": "waterbirds"}])
    assert unclaimed(STUDY, gains)["dataset"].tolist() == ["mine"]


def test_claims_are_counted_and_their_sizes_compared():
    claims = table(
        row("a", "supported", size="smaller"),
        row("b", "contradicted", size="larger"),
        row("c", "undecided", size="as the paper's"),
        row("d", "not testable", size="larger"),
    )
    assert counted(claims) == "1 of 3 claims are supported, 1 contradicted, 1 undecided."
    assert compared_in_size(claims) == (
        "For 3 the paper states a number: our interval holds 1, ours is smaller than 1, "
        "ours is larger than 1 of them."
    )
    assert counted(claims[3:]) == compared_in_size(claims[3:]) == ""


@pytest.mark.parametrize("about", HEADLINES)
def test_the_page_answers_with_the_claims_that_the_run_measured(about):
    statements = {claim.statement for of_notebook in CLAIMS.values() for claim in of_notebook}
    assert set(HEADLINES[about]) <= statements
    first, second, *_ = HEADLINES[about]
    said = answer(table(row(first, "contradicted"), row(second, "not testable")), about)
    assert said.count("+0.031 (+0.020 to +0.042)") == 1
    assert said.endswith("(16 seeds).")
    assert answer(table(), about) == ""
