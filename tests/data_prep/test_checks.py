"""Checks of a release: images, counts, codes, tables; names from others are shown, not obeyed."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from release.checks import check_counts, check_filled, check_images, release_table
from release.report import note, one_line_exit

from alpt_lib.errors import DataError


def test_missing_and_truncated_images_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name in ("good.jpg", "cut.jpg", "good.png", "cut.png", "tiny.jpg"):
        Image.fromarray(noise if name != "tiny.jpg" else noise[:2, :3]).save(tmp_path / name)
    for name in ("cut.jpg", "cut.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1000])
    (tmp_path / "text.jpg").write_bytes(b"no image")
    check_images(tmp_path, ["good.jpg", "good.png", "tiny.jpg"])
    everything = sorted(path.name for path in tmp_path.iterdir())
    said = (
        r"3 of 6 images cannot be read: cut.jpg \(.*truncated.*\), cut.png \(.*\), text.jpg \(.*\);"
    )
    with pytest.raises(DataError, match=said):
        check_images(tmp_path, everything)
    check_images(tmp_path, everything, trust=True)
    with pytest.raises(DataError, match=r"1 of 2 images missing, first .*gone.jpg"):
        check_images(tmp_path, ["good.jpg", "gone.jpg"], trust=True)


def test_counts_are_compared_where_they_are_published():
    published = pd.DataFrame({"a": [3, 4], "b": [5, np.nan]}, index=["pool", "val"])
    counts = pd.DataFrame({"a": [3, 1], "b": [5, 77]}, index=["pool", "val"])
    assert check_counts(counts, published, allow_different=True) == ["val a: 1 instead of 4"]
    assert check_counts(counts.assign(a=[3, 4]), published, allow_different=False) == []
    said = "1 of 3 counts differ from the published ones: val a: 1 instead of 4; "
    with pytest.raises(DataError, match=said):
        check_counts(counts, published, allow_different=False)
    # a count that is absent is zero
    other = pd.DataFrame({"c": [1]}, index=["val"])
    published = pd.DataFrame({"a": [3], "b": [0]}, index=["pool"])
    assert check_counts(other, published, allow_different=True) == ["pool a: 0 instead of 3"]


def test_an_empty_split_and_a_class_without_examples_are_refused():
    manifest = pd.DataFrame({"split": ["pool", "pool", "val"], "label": ["x", "x", "y"]})
    check_filled(manifest, ["x"], ["pool", "val"])
    with pytest.raises(DataError, match="split 'test' is empty"):
        check_filled(manifest, ["x"], ["pool", "test"])
    with pytest.raises(DataError, match="no example of class 'y' in the pool"):
        check_filled(manifest, ["x", "y"], ["pool"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "table.csv is missing: unpack it"),
        ("", "has no rows"),
        ("a,b\n", "has no rows"),
        ("a\n1\n", "column 'b' missing; it has a"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "table.csv").write_text(content)
    with pytest.raises(DataError, match=said):
        release_table(tmp_path / "table.csv", ["a", "b"], "unpack it")


def test_what_a_name_would_do_to_a_terminal_is_shown_and_not_done(capsys):
    note("a\x1b[31m.png")
    with pytest.raises(SystemExit) as stopped, one_line_exit("waterbirds"):
        raise OSError("no b\x1b]0;pwned\x07.png\nhere")
    assert capsys.readouterr().out == "note: a\\x1b[31m.png\n"
    assert stopped.value.code == "waterbirds: no b\\x1b]0;pwned\\x07.png here"
