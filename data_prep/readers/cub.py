"""CUB-200-2011 with its segmentations, and Places365: where they are fetched, found and read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from release.download import Archive

from alpt_lib.errors import DataError

SCENES = {"land": ["bamboo_forest", "forest/broadleaf"], "water": ["ocean", "lake/natural"]}

# Seabirds and waterfowl. A species counts if its name contains one of these: so the released labels
# were made, "tern" in Eastern Towhee, Western Meadowlark and Western Wood Pewee included, and so
# the paper's numbers. We keep them.
WATERBIRDS = (
    "albatross",
    "auklet",
    "cormorant",
    "frigatebird",
    "fulmar",
    "gull",
    "jaeger",
    "kittiwake",
    "pelican",
    "puffin",
    "tern",
    "guillemot",
    "gadwall",
    "grebe",
    "mallard",
    "merganser",
    "pacific_loon",
)
# size: as several users of the Caltech archive record it; md5: the publisher's
CUB = Archive(
    "CUB_200_2011.tgz",
    (
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
        "https://data.caltech.edu/api/records/65de6-vp158/files/CUB_200_2011.tgz/content",
    ),
    1_150_585_339,
    "md5:97eceeb196236b17998738112f37df78",
    unpacked="CUB_200_2011",
)
SEGMENTATIONS = Archive(
    "segmentations.tgz",
    (
        "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz?download=1",
        "https://data.caltech.edu/api/records/w9d68-gec53/files/segmentations.tgz/content",
    ),
    39_272_883,
    "md5:4d47ba1228eae64f2fa547c47bc65255",
    unpacked="segmentations",
)
# the archive and its md5 as in torchvision.datasets.Places365; 105 GB as its page says; four of 365
# scenes are unpacked
PLACES = Archive(
    "train_large_places365standard.tar",
    ("http://data.csail.mit.edu/places/places365/train_large_places365standard.tar",),
    None,
    "md5:67e186b496a84c929568076ed01a8aa1",
    unpacked="data_large",
    about_bytes=105_000_000_000,
    unpacked_bytes=1_500_000_000,
    only=tuple(f"data_large/{scene[0]}/{scene}/" for scenes in SCENES.values() for scene in scenes),
)


@dataclass(frozen=True)
class Sources:
    """Where the parts are, once found."""

    cub: Path
    segmentations: Path
    # background -> name as in Places ("/o/ocean/00000001.jpg") -> file
    scenes: dict[str, dict[str, Path]]

    @property
    def scene_names(self) -> dict[str, list[str]]:
        """Background -> names of its scenes."""
        return {background: list(files) for background, files in self.scenes.items()}


def archives(root: Path, places: Path | None, **_) -> list[Archive]:
    """What is still to be fetched; Places only where no layout of it is found."""
    has_scenes = _scene_folder(_places(root, places), SCENES["land"][0]) is not None
    return [CUB, SEGMENTATIONS, *([] if places or has_scenes else [PLACES])]


def find(root: Path, places: Path | None) -> Sources:
    """The three parts in one of their layouts.

    Raises:
        DataError: a part that is not there: what it is called, where it was looked for.
    """
    cub = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    if not (cub / "images.txt").is_file():
        raise DataError(
            f"no CUB_200_2011/images.txt in {root}: unpack {CUB.file} there, or --download"
        )
    segmentations = _first_folder(f / "segmentations" for f in (cub.parent, cub))
    if segmentations is None:
        raise DataError(
            f"no segmentations in {root}: unpack {SEGMENTATIONS.file} there, or --download"
        )
    places = _places(root, places)
    scenes = {background: _list_scenes(places, names) for background, names in SCENES.items()}
    return Sources(cub, segmentations, scenes)


def _first_folder(folders: Iterator[Path]) -> Path | None:
    return next((folder for folder in folders if folder.is_dir()), None)


def _places(root: Path, places: Path | None) -> Path:
    if places is not None:
        return places.expanduser().resolve()
    for name in ("places", "places365"):
        if _scene_folder(root / name, SCENES["land"][0]):
            return root / name
    return root


def _scene_folder(places: Path, scene: str) -> Path | None:
    bases = ["", "data_large", "data_256", "data_large_standard", "data_256_standard", "train"]
    names = [f"{scene[0]}/{scene}", scene, scene.replace("/", "-")]
    return _first_folder(places / base / name for base in bases for name in names)


def _list_scenes(places: Path, scenes: list[str]) -> dict[str, Path]:
    listed = {}
    for scene in scenes:
        folder = _scene_folder(places, scene)
        files = sorted(folder.glob("*.jpg")) if folder else []
        if not files:
            raise DataError(
                f"no images of the scene {scene} in {places}: it needs {scene[0]}/{scene}/*.jpg "
                f"as in Places365 ({PLACES.file}); name the folder of the scenes with --places"
            )
        listed |= {f"/{scene[0]}/{scene}/{file.name}": file for file in files}
    return listed


def read_cub(cub: Path) -> pd.DataFrame:
    """CUB's images in its order: path, label, is_train, species.

    Raises:
        DataError: a list that is missing, is not of two columns, or does not name the same images.
    """
    names = _read_list(cub / "images.txt")
    is_train = _read_list(cub / "train_test_split.txt")
    if list(names.index) != list(is_train.index):
        raise DataError(
            f"{cub}: images.txt names {len(names)} images, train_test_split.txt {len(is_train)}; "
            "get CUB again"
        )
    if not is_train.isin(["0", "1"]).all():
        raise DataError(
            f"{cub / 'train_test_split.txt'}: must hold 0 and 1 only; it has "
            f"{', '.join(is_train.unique()[:5])}"
        )
    folders = names.str.split("/").str[0].str.lower()
    in_water = folders.map(lambda folder: any(name in folder for name in WATERBIRDS))
    birds = {
        "path": names,
        "label": np.where(in_water, "waterbird", "landbird"),
        "is_train": is_train == "1",
        "species": species(names),
    }
    return pd.DataFrame(birds).reset_index(drop=True)


def species(names: pd.Series) -> pd.Series:
    """001.Black_footed_Albatross/... -> Black footed Albatross"""
    return names.str.split("/").str[0].str.partition(".")[2].str.replace("_", " ")


def _read_list(file: Path) -> pd.Series:
    try:
        table = pd.read_csv(file, sep=" ", header=None, names=["img_id", "value"], dtype=str)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); unpack {CUB.file} again") from error
    if table.isna().any(axis=None) or table.empty:
        raise DataError(
            f"{file}: every line must be an image number and a value; unpack {CUB.file} again"
        )
    return table.set_index("img_id")["value"]
