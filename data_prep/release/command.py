"""The command line that the scripts for published datasets have in common.

python data_prep/<name>.py --root FOLDER | --download [--out FOLDER] [--allow-different] ...
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.files import home
from release.download import Archive, fetch
from release.report import disk_report, one_line_exit, print_table


@dataclass(frozen=True)
class Prepared:
    """What a script's `prepare` returns."""

    manifest: pd.DataFrame
    description: dict
    counts: pd.DataFrame  # printed
    different: Sequence[str] = ()  # counts that are not the published ones
    folders: Sequence[Path] = ()  # what was written; (): the folder of --out


def described(description: dict, counts: pd.DataFrame) -> tuple[str, dict]:
    """Name of a dataset, its description, the sizes that the splits used by runs should have."""
    sizes = counts.sum(axis=1)
    splits = ("pool", *description["eval_splits"])
    used = {split: int(sizes[split]) for split in splits}
    return description["name"], {"description": description, "sizes": used}


def command(
    name: str,
    doc: str,
    prepare: Callable[..., Prepared],
    archives: Sequence[Archive] | Callable[..., Sequence[Archive]] = (),
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    *,
    expected: Sequence[tuple[dict, pd.DataFrame]],
    embedded: str = "",
) -> None:
    """Run a script's command line; what is wrong ends it with one line.

    Args:
        prepare: called with root=, out=, allow_different=, trust_images= and the script's own
            options; writes the folder.
        archives: what --download fetches; a function of the same keywords if it depends on them.
        options: adds the script's own options; may set other defaults.
        expected: dataset.yaml and published counts (splits, any groups) of each dataset that it
            makes; --describe prints them, so that the cost of runs is known before the data.
        embedded: folder of data_prep/embedded that holds its features; --embed makes them again.
    """
    parser = _parser(name, doc, has_embedded=bool(embedded))
    options(parser)
    given = _arguments(parser, name)
    if given.pop("describe"):
        print(json.dumps(dict(described(*each) for each in expected)))
        return
    wants_download = given.pop("download")
    root = given["root"]
    out = given.pop("out")
    weights = given.pop("embed", None)
    with one_line_exit(name):
        if wants_download:
            fetch(archives(**given) if callable(archives) else archives, root)
        prepared = prepare(out=out, **given)
        _report(root, prepared.folders or [out], prepared)
        if weights:
            _embed(out, embedded, weights)


def _arguments(parser: argparse.ArgumentParser, name: str) -> dict[str, Any]:
    """What the command line gives, its folders in full."""
    given = vars(parser.parse_args())
    if not (given["describe"] or given["download"] or given["root"]):
        parser.error("give --root FOLDER (a release that you have) or --download")
    root = given["root"] or home() / "data" / "source" / name
    return {**given, "root": root.expanduser().resolve(), "out": given["out"].expanduser()}


def _report(root: Path, folders: Sequence[Path], prepared: Prepared) -> None:
    print_table(prepared.counts)
    for difference in prepared.different:
        print(f"not as published: {difference}")
    print(disk_report(root, folders, prepared.manifest, prepared.description))
    print(f"wrote {', '.join(map(str, folders))}")


def _embed(folder: Path, embedded: str, weights: Path) -> None:
    """Features of a prepared dataset as they are embedded, with its pictures, for all notebooks."""
    # imported here: they bring torch, which takes seconds
    from embed import embed_like
    from embedded import EMBEDDED

    from alpt_lib.datasets import read_dataset

    target = home() / "data" / "mini" / embedded
    found = embed_like(read_dataset(folder), EMBEDDED / embedded, weights, target)
    for name, difference in found.items():
        print(f"{target}: features {name}, at most {difference:.1e} from the embedded ones")


def _parser(name: str, doc: str, has_embedded: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    default = f"data/source/{name}"
    add("--root", type=Path, help=f"folder of the release (with --download: {default})")
    add("--download", action="store_true", help="fetch what is missing in --root first")
    out = home() / "data" / "paper" / name
    add("--out", type=Path, default=out, help="dataset folder to write")
    add("--allow-different", action="store_true", help="go on where counts are not as published")
    add("--trust-images", action="store_true", help="do not look whether each image is whole")
    add("--describe", action="store_true", help="print what it makes, as JSON; needs no data")
    if has_embedded:
        add("--embed", type=Path, help="make the embedded features again: folder of weights")
    return parser
