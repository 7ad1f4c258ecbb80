"""Tables of image paths or texts: csv, tsv, parquet."""

from pathlib import Path

from alpt_lib.tables import read_table
from readers.hugging_face import from_hugging_face, is_hugging_face
from readers.source import Columns, Source, choose, existing


def from_table(file: Path, out: Path, columns: Columns | None = None) -> Source:
    """A csv, tsv or parquet with a column of image paths (from its folder) or texts, one of labels.

    Args:
        out: the dataset folder to be; images that a parquet holds are written to its `pictures`.
        columns: image, text, label, split: the names of these columns; those not given are guessed.
    Raises:
        DataError: unreadable, or a column missing.
    """
    file = existing(file)
    if file.suffix.lower() == ".parquet" and is_hugging_face(file):
        return from_hugging_face(file, out, columns)
    return choose(read_table(file), {}, columns or {}, file.parent, file.name)
