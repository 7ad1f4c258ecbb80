"""Tables as people write them: read as meant, with a word about what is not plain, or refused."""

import csv
import gzip

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alpt_lib.errors import DataError
from alpt_lib.formulas import unguarded
from alpt_lib.tables import read_table, with_names

ROWS = [[f"sentence {i}", "pos" if i % 2 else "neg"] for i in range(40)]


def table(rows: list[list[str]], separator: str = ",", header: str = "text,label") -> str:
    lines = [header.replace(",", separator), *(separator.join(row) for row in rows)]
    return "\n".join(lines) + "\n"


def with_quotes(last: str, rows: list[list[str]] = ROWS) -> list[list[str]]:
    """Rows of which the sixth begins with a quote that a later one ends, as writers of tsv do."""
    changed = {5: '"It starts here', 20: last}
    return [[changed.get(i, text), label] for i, (text, label) in enumerate(rows)]


SPOKEN = with_quotes('and ends here." he said')
CLOSED = with_quotes('and ends here."')
LITERAL = "quotes are taken as parts of the texts"
EMAILS = 'text,label\n"Dear Mr, x\nThanks",ham\n"a\nb, c",spam\nplain,ham\n'


@pytest.mark.parametrize(
    ("name", "content", "rows", "said"),
    [
        ("t.csv", table(ROWS), ROWS, []),
        ("t.tsv", table(ROWS, "\t"), ROWS, []),
        ("t.csv.gz", gzip.compress(table(ROWS).encode()), ROWS, []),
        ("t.csv", table(ROWS).replace("\n", "\r\n"), ROWS, []),
        ("t.csv", table(ROWS).replace("\n", "\r"), ROWS, []),
        ("t.csv", table(ROWS, ";"), ROWS, ["read with the separator semicolon"]),
        ("t.txt", table(ROWS, "\t"), ROWS, ["read with the separator tab"]),
        ("t.csv", table([["Good, very", "pos"]], ";"), [["Good, very", "pos"]], ["semicolon"]),
        ("t.csv", "sep=;\n" + table(ROWS, ";"), ROWS, ["separator ';', as its first line says"]),
        ("t.csv", table(ROWS).encode("utf-8-sig"), ROWS, ["read as utf-8-sig"]),
        ("t.csv", table(ROWS).encode("utf-16"), ROWS, ["read as utf-16"]),
        (
            "t.csv",
            table([["un café noir", "pos"]]).encode("cp1252"),
            [["un café noir", "pos"]],
            ["read as cp1252, so that it has 'café'; if that is wrong, save it as UTF-8"],
        ),
        ("t.csv", table([["NA", "1.0"], ["null", "01"]]), [["NA", "1.0"], ["null", "01"]], []),
        (
            "t.csv",
            table([["'=1+1", "''-x"], ["it's", "'-5"], ["'quoted'", "a"]]),
            [["=1+1", "'-x"], ["it's", "'-5"], ["'quoted'", "a"]],
            ["2 cells without the apostrophe that keeps a spreadsheet from running them, first"],
        ),
        ("t.csv", "text,label\n\na,b\n,\n\n", [["a", "b"]], ["3 empty lines left out"]),
        (
            "t.csv",
            EMAILS,
            [["Dear Mr, x\nThanks", "ham"], ["a\nb, c", "spam"], ["plain", "ham"]],
            ["2 records of several lines, the first in lines 2 to 3"],
        ),
        ("t.tsv", table(SPOKEN, "\t"), SPOKEN, [LITERAL]),
        ("t.tsv", table(CLOSED, "\t"), CLOSED, [LITERAL]),
        (
            "t.tsv",
            'text\tlabel\n"a ""b"""\tpos\n"c\td"\tneg\n',
            [['a "b"', "pos"], ["c\td", "neg"]],
            [],
        ),
        ("t.csv", "text,label\n" + "x" * 1_000_000 + ",b\n", [["x" * 1_000_000, "b"]], []),
    ],
)
def test_a_table_is_read_as_its_writer_meant_and_what_is_not_plain_is_said(
    tmp_path, name, content, rows, said
):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    frame = read_table(tmp_path / name)
    assert frame.columns.tolist() == ["text", "label"]
    assert frame.to_numpy().tolist() == rows
    notes = frame.attrs["notes"]
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (table([["Dear Mr, no thanks", "ham"]]), "line 2 has 3 fields, its header 2 (text, label)"),
        (table([["text 0", "ham,"]]), "line 2 has 3 fields, its header 2"),
        (table([["a", "b"], ["c"]]), "line 3 has 1 fields, its header 2"),
        (table([["'Dear, me'", "ham"]]), "line 2 has 3 fields"),
        (
            "# remark\ntext,label\na,b\n",
            "its first line is a comment: delete what stands above the header",
        ),
        (table([["Good; very", "pos"], ["Bad", "neg"]], ";"), "line 2 has 3 fields"),
        (table(SPOKEN), "line 22: ',' expected after '\"'; put such texts in quotes"),
        (table(CLOSED), "lines 7 to 22 would be one record, though each looks like one"),
        (table([*ROWS, ['"open', "pos"]]), "line 42: unexpected end of data"),
        (table(ROWS).encode("utf-16-le"), "UTF-16 without its mark; save it as UTF-8"),
        (bytes(range(1, 256)) * 20, "no text in UTF-8, UTF-16 or cp1252"),
        ("", "t.csv has no rows"),
        ("text,label\n", "t.csv has no rows"),
    ],
)
def test_what_could_be_misread_is_refused_in_one_line_with_the_remedy(tmp_path, content, said):
    file = tmp_path / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read_table(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_files_of_other_kinds_and_none_are_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")
    for name, said in (("t.xlsx", "save it as csv"), ("t.parquet", "cannot be read"), ("", "dir")):
        with pytest.raises(DataError, match=said):
            read_table(tmp_path / name)


def test_a_column_without_a_name_or_with_one_that_is_there_gets_one(tmp_path):
    (tmp_path / "t.csv").write_text("text,label,label,\na,b,c,\n")
    frame = read_table(tmp_path / "t.csv")
    assert frame.columns.tolist() == ["text", "label", "label.1", "Unnamed: 3"]
    assert "column 'label' appears twice" in frame.attrs["notes"][0]


def test_a_parquet_becomes_text_and_what_is_no_plain_value_is_left_out(tmp_path):
    columns = {"n": [1.0, None], "yes": [True, False], "kind": pd.Categorical(["a", None])}
    frame = pd.DataFrame({**columns, "half": [0.5, 1.5], "list": [[1], [2]], "raw": [b"a", b"b"]})
    frame.set_index(pd.Index([7, 9])).to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.to_dict("list") == {
        "n": ["1", ""],
        "yes": ["True", "False"],
        "kind": ["a", ""],
        "half": ["0.5", "1.5"],
    }
    assert "left out, for they hold no plain values: list, raw" in read.attrs["notes"][0]


words = st.text(st.sampled_from("ab é,;\t|\"'\n0"), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.tuples(words, st.sampled_from(["pos", "neg", ""])), min_size=1, max_size=8),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    suffix=st.sampled_from([".csv", ".tsv"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_whatever_a_csv_writer_writes_is_read_back_or_refused(
    tmp_path, rows, separator, encoding, line_end, suffix, quoting
):
    file = tmp_path / f"t{suffix}"
    with open(file, "w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator=line_end, quoting=quoting)
        writer.writerows([("text", "label"), *rows])
    written = [list(row) for row in rows if any(row)]
    # the apostrophe that keeps a spreadsheet from running a cell comes off, and that is said
    expected = [[unguarded(cell) for cell in row] for row in written]
    try:
        table = read_table(file)
        result = table.to_numpy().tolist()
        assert (expected != written) == any("apostrophe" in note for note in table.attrs["notes"])
    except DataError as error:
        result = str(error)
    if not expected:
        assert "has no rows" in result
    elif "would be one record" not in result:
        assert result == expected


def test_columns_that_differ_in_case_or_spaces_get_their_names_and_that_is_said():
    frame = with_names(
        pd.DataFrame(columns=["Text", " LABEL ", "Image", "image"]), ["text", "label", "image"]
    )
    assert frame.columns.tolist() == ["text", "label", "Image", "image"]
    assert frame.attrs["notes"] == [
        "column 'Text' is taken for 'text'",
        "column ' LABEL ' is taken for 'label'",
    ]
