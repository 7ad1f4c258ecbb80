"""Files as people name them: found as meant, or a word on where they may be."""

import os
import unicodedata

import pytest

from alpt_lib.errors import DataError
from companion.paths import files_below, find_file, why_missing


def test_files_below_a_folder_follow_links_but_not_in_circles_and_leave_hidden_ones_out(tmp_path):
    for name in ("a b/1.PNG", "a/2.png", "a/.x/3.png", ".4.png", "a/5.txt", "elsewhere/6.png"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    (tmp_path / "root" / "elsewhere").rename(tmp_path / "elsewhere")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    assert files_below(tmp_path / "root", (".png",)) == ["a/2.png", "a b/1.PNG", "link/6.png"]
    assert files_below(tmp_path / "root") == ["a/2.png", "a/5.txt", "a b/1.PNG", "link/6.png"]
    with pytest.raises(DataError, match="gone cannot be read: No such file"):
        files_below(tmp_path / "gone")


COMPOSED = unicodedata.normalize("NFC", "é")


@pytest.mark.parametrize(
    "written",
    [
        f"img/caf{COMPOSED} 1.JPG",
        f" img/caf{COMPOSED} 1.jpg ",
        f"img\\caf{COMPOSED} 1.jpg",
        "img/caf%C3%A9%201.jpg",
        f"file://FOLDER/img/caf{COMPOSED} 1.jpg",
        unicodedata.normalize("NFD", f"img/caf{COMPOSED} 1.jpg"),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_by_the_name_that_others_give_it(tmp_path, written, form):
    name = unicodedata.normalize(form, f"img/caf{COMPOSED} 1.jpg")
    (tmp_path / "img").mkdir()
    (tmp_path / name).touch()
    found = find_file(tmp_path, written.replace("FOLDER", str(tmp_path)))
    assert os.path.samefile(tmp_path / found, tmp_path / name)
    assert find_file(tmp_path, "img/other.jpg") is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("1.jpg", "there is 'img/a b/1.jpg': write paths from the folder of the table"),
        ("C:\\Users\\me\\1.jpg", "there is 'img/a b/1.jpg'"),
        ("other/a%20b/1.jpg", "there is 'img/a b/1.jpg'"),
        ("https://x.org/1.jpg", "a web address: download the images first"),
        ("2.jpg", "no such file"),
    ],
)
def test_a_file_that_is_missing_is_looked_for_elsewhere(tmp_path, name, why):
    (tmp_path / "img" / "a b").mkdir(parents=True)
    (tmp_path / "img" / "a b" / "1.jpg").touch()
    assert why_missing(tmp_path, name).startswith(why)
