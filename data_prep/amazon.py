"""Amazon v2.1 of WILDS (Ni et al. 2019; Koh et al. 2021): how many stars?

The release is the folder `amazon_v2.1`: RELEASE_v2.1.txt, reviews.csv and splits/user.csv, which
gives the split of each row of reviews.csv (-1: in none). The maintainers keep a copy at
huggingface.co/datasets/pangwei/wilds-amazon. The training split is the pool; reviewers of `val`
wrote nothing in it. Published counts:

    train 245,502   val 100,050   id_val 46,950   test 100,050   id_test 46,950

reviews.csv holds far more reviews than the splits use: it is read in pieces, only the pool and
`val` are kept, as parquet. (The dataset object of the wilds package would hold all of it in memory;
a test compares our rows with the package's.)

The paper reports the mean and the 10th percentile over reviewers, which need several reviews each:
evaluation reviewers with fewer than --min-reviews are left out (WILDS gives each 75). So that an
evaluation with RoBERTa-Large takes minutes, not hours, --eval-reviewers of them are drawn, always
the same ones; both numbers, and the protocol, are ours.

    python data_prep/amazon.py --root FOLDER | --download [--out data/paper/amazon] [--min-reviews
        75] [--eval-reviewers 200]
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from release.checks import check_columns, check_filled, release_table
from release.command import Prepared, command
from release.wilds import bundle, compare, find, report_rows
from tqdm.auto import tqdm

from alpt_lib.datasets import write_dataset
from alpt_lib.errors import DataError
from companion.recipes import ROBERTA_RECIPE

FOLDER = "amazon_v2.1"
ARCHIVE = bundle(
    FOLDER,
    "0xe3ed909786d34ee79d430d065582aa29",
    1_989_805_589,
    elsewhere=(
        "the archive files of huggingface.co/datasets/pangwei/wilds-amazon, by the maintainers of"
        " WILDS"
    ),
)
STARS = ["1", "2", "3", "4", "5"]
# codes of splits/user.csv; -1: in none
SPLITS = {
    0: "pool",
    1: "val",
    2: "id_val",
    3: "test",
    4: "id_test",
}
PUBLISHED = pd.DataFrame(
    {"reviews": [245_502, 100_050, 46_950, 100_050, 46_950]}, index=list(SPLITS.values())
)
COLUMNS = {
    "reviewText": "text",
    "overall": "label",
    "reviewerID": "reviewer",
    "category": "category",
}
ROWS_AT_ONCE = 200_000
DRAW_SEED = 0  # of the evaluation reviewers
MIN_REVIEWS = 75  # of an evaluation reviewer; WILDS gives each as many
EVAL_REVIEWERS = 200  # ours

DESCRIPTION = {
    "name": "amazon",
    "title": "Amazon",
    "modality": "text",
    "description": (
        "Product reviews of 1 to 5 stars, most of them 5, by reviewers who write either in the "
        "pool or in val. The product category, from common to rare, is never shown to the model."
    ),
    "classes": STARS,
    "subgroups": ["label"],
    "minority": ["1", "2", "3"],
    "latent": ["category"],
    "percentile_over": "reviewer",
    "eval_splits": ["val"],
    "max_tokens": 512,
    "figure_metrics": ["accuracy_reviewer_mean", "accuracy_reviewer_p10"],
    "default_model": "roberta-m",
    # ours: the paper's sizes could not be found
    "protocol": {
        "seed_set_size": 40,
        "seed_set": "balanced",
        "budget": 320,
        "query_batch_size": 20,
        "pool_subsample": 10_000,
        "eval_every": 4,
    },
    "recipe": ROBERTA_RECIPE,
    "source": "WILDS, amazon_v2.1 (wilds.stanford.edu)",
    "licence": "none; the authors ask that it be used for research only",
}


def read_splits(folder: Path) -> pd.Series:
    """(n_reviews,) name of each row's split, NaN where it has none.

    Raises:
        DataError: file or column missing, or an unknown code.
    """
    file = folder / "splits" / "user.csv"
    table = release_table(file, ["split"], "unpack the release again")
    codes = pd.to_numeric(table["split"], errors="coerce")
    report_rows(
        table,
        "split",
        ~codes.isin([-1, *SPLITS]),
        f"one of -1, {', '.join(map(str, SPLITS))}",
        file,
    )
    return codes.map(SPLITS)


def read_reviews(folder: Path, splits: pd.Series) -> pd.DataFrame:
    """The reviews of the pool and of `val`: text, label, reviewer, category and split.

    Raises:
        DataError: unreadable, another number of rows than `splits`, or a used review without stars,
            reviewer or category.
    """
    file = folder / "reviews.csv"
    used = splits.where(splits.isin(["pool", "val"]))
    kept = []
    n_rows = 0
    with tqdm(total=len(splits), desc="read reviews", unit="review", disable=None) as bar:
        for piece in _pieces(file):
            n_rows += len(piece)
            bar.update(len(piece))
            piece = piece.assign(split=used.reindex(piece.index)).dropna(subset="split")
            kept.append(check_reviews(piece, file))
    if n_rows != len(splits):
        raise DataError(
            f"{file} has {n_rows} rows but splits/user.csv {len(splits)}; they must be of one "
            "release"
        )
    return pd.concat(kept, ignore_index=True)


def _pieces(file: Path) -> Iterator[pd.DataFrame]:
    """The file's reviews, ROWS_AT_ONCE of them at a time: it has gigabytes, in a known format."""
    if not file.is_file():
        raise DataError(f"{file} is missing: unpack the release again")
    # pyarrow strings, not objects, in pandas 3
    text_columns = {column: str for column in COLUMNS if column != "overall"}
    try:
        check_columns(file, pd.read_csv(file, nrows=0).columns, COLUMNS)
        yield from pd.read_csv(
            file,
            usecols=list(COLUMNS),
            dtype=text_columns,
            keep_default_na=False,
            na_values=[],
            quoting=csv.QUOTE_NONNUMERIC,
            chunksize=ROWS_AT_ONCE,
        )
    except DataError:
        raise
    except (ValueError, OverflowError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def check_reviews(reviews: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The reviews under the manifest's column names, labels "1" to "5"."""
    report_rows(
        reviews,
        "overall",
        ~reviews["overall"].isin([1, 2, 3, 4, 5]),
        "a whole number of stars from 1 to 5",
        file,
    )
    for column in ("reviewerID", "category"):
        report_rows(reviews, column, reviews[column].str.strip() == "", "given", file)
    stars = reviews["overall"].astype("int64").astype(str)
    return reviews.assign(overall=stars).rename(columns=COLUMNS)[[*COLUMNS.values(), "split"]]


def draw_reviewers(reviews: pd.DataFrame, min_reviews: int, n_drawn: int) -> pd.DataFrame:
    """The reviews without those of evaluation reviewers who wrote few, or who are not drawn.

    Args:
        n_drawn: evaluation reviewers to draw of those with `min_reviews`; 0: all.

    Raises:
        DataError: none wrote enough.
    """
    is_evaluation = reviews["split"] == "val"
    sizes = reviews.loc[is_evaluation, "reviewer"].value_counts()
    enough = sorted(sizes.index[sizes >= min_reviews])
    if not enough:
        raise DataError(
            f"no evaluation reviewer has {min_reviews} reviews, the most is {sizes.max()}; lower "
            "--min-reviews"
        )
    drawn = enough
    if 0 < n_drawn < len(enough):
        drawn = np.random.default_rng(DRAW_SEED).choice(enough, n_drawn, replace=False)
    print(
        f"evaluation: {len(drawn)} of {len(sizes)} reviewers; {len(sizes) - len(enough)} have "
        f"fewer than {min_reviews} reviews, {len(enough) - len(drawn)} were not drawn",
        flush=True,
    )
    return reviews[~is_evaluation | reviews["reviewer"].isin(drawn)].reset_index(drop=True)


def prepare(
    root: Path,
    out: Path,
    allow_different: bool = False,
    trust_images: bool = False,
    min_reviews: int = MIN_REVIEWS,
    eval_reviewers: int = EVAL_REVIEWERS,
) -> Prepared:
    """Check a release and write its dataset folder; there are no images to trust.

    Raises:
        DataError: what is missing or wrong; or counts that are not the published ones.
    """
    folder = find(root, FOLDER)
    splits = read_splits(folder)
    counts, different = compare(splits, PUBLISHED, ["pool", "val"], allow_different)
    manifest = draw_reviewers(read_reviews(folder, splits), min_reviews, eval_reviewers)
    check_filled(manifest, STARS, ["val"])
    generator = {
        "script": "data_prep/amazon.py",
        "min_reviews": min_reviews,
        "eval_reviewers": eval_reviewers,
        "seed": DRAW_SEED,
    }
    description = DESCRIPTION | {"generator": generator}
    write_dataset(out, manifest, description)
    return Prepared(manifest, description, counts, different)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--min-reviews",
        type=int,
        default=MIN_REVIEWS,
        metavar="N",
        help="reviews that an evaluation reviewer must have",
    )
    parser.add_argument(
        "--eval-reviewers",
        type=int,
        default=EVAL_REVIEWERS,
        metavar="N",
        help="evaluation reviewers to draw; 0: all",
    )


if __name__ == "__main__":
    drawn = PUBLISHED.T.assign(val=EVAL_REVIEWERS * MIN_REVIEWS).T
    command("amazon", __doc__, prepare, [ARCHIVE], options, expected=[(DESCRIPTION, drawn)])
