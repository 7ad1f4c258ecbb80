"""Scene graphs of GQA and Visual Genome: which images show persons, trees and buildings."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from tqdm.auto import tqdm

from alpt_lib.errors import DataError

CHUNK = 1 << 16  # characters of JSON read at a time
LONGEST = 1 << 25  # characters; no scene is as long, so what is longer is no scene
TAKES = (
    "--scene-graphs takes GQA's train_sceneGraphs.json and val_sceneGraphs.json or Visual Genome's "
    "objects.json, plain or zipped"
)


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(","))


# Ours: object names of GQA and Visual Genome, compared whole and in lower case. Names that often
# mean something else are left out (pitcher, coach, runner; palm).
NAMES = {
    "person": _names("""
        person, persons, people, human, humans, man, men, woman, women, boy, boys, girl, girls,
        child, children, kid, kids, baby, babies, toddler, infant, lady, ladies, guy, guys,
        gentleman, adult, adults, teenager, crowd, audience, spectator, spectators, pedestrian,
        pedestrians, bystander, onlooker, onlookers, tourist, tourists, passenger, passengers,
        driver, rider, riders, cyclist, cyclists, bicyclist, biker, bikers, motorcyclist, jockey,
        skateboarder, skateboarders, skater, skier, skiers, snowboarder, snowboarders, surfer,
        surfers, swimmer, swimmers, athlete, player, players, baseball player, baseball players,
        tennis player, soccer player, batter, catcher, umpire, referee, worker, workers, policeman,
        police officer, officer, officers, soldier, soldiers, fireman, farmer, chef, waiter,
        waitress, vendor, customer, customers, shopper, student, students, bride, groom, performer,
        musician, fisherman, hiker, hikers
    """),
    "tree": _names("""
        tree, trees, palm tree, palm trees, pine tree, pine trees, pines, evergreen, evergreens,
        evergreen tree, evergreen trees, fir tree, oak tree, fruit tree, apple tree, bare tree, bare
        trees, green tree, green trees, large tree, tall tree, tall trees, forest, woods, tree line,
        treeline
    """),
    "building": _names("""
        building, buildings, house, houses, home, homes, apartment building, apartment, apartments,
        office building, tall building, tall buildings, brick building, skyscraper, skyscrapers,
        high rise, hotel, church, cathedral, chapel, mosque, castle, palace, tower, clock tower,
        bell tower, store, stores, shop, shops, storefront, restaurant, school, train station, barn,
        barns, shed, hut, huts, cabin, cottage, warehouse, garage, skyline
    """),
}


def read_scenes(files: list[Path]) -> dict[str, frozenset[str]]:
    """Which of person, tree and building each image has.

    An image in several files has what any of them names.

    Raises:
        DataError: a file is missing, no JSON, cut off, or no scene graphs.
    """
    scenes: dict[str, frozenset[str]] = {}
    for file in files:
        for key, scene in tqdm(_open_scenes(file), desc=file.name, unit=" images", disable=None):
            image_id, shown = _contents(key, scene, file)
            scenes[image_id] = scenes.get(image_id, frozenset()) | shown
    if not scenes:
        raise DataError(f"no scene graphs in {', '.join(map(str, files))}; {TAKES}")
    return scenes


def _contents(key: str | None, scene: dict, file: Path) -> tuple[str, frozenset[str]]:
    """Image id, and what the image has.

    GQA maps ids to objects {id: {name}}; Visual Genome lists image_id, objects [{names: [...]}].
    """
    try:
        objects = scene["objects"]
        if isinstance(objects, dict):
            names = [thing["name"] for thing in objects.values()]
        else:
            names = [name for thing in objects for name in thing["names"]]
        image_id = str(key or scene["image_id"])
        return image_id, kinds(name.strip().lower() for name in names)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: {key or scene.get('image_id', 'an image')} has no objects with names; {TAKES}"
        ) from error


def kinds(names: Iterable[str]) -> frozenset[str]:
    """Which of person, tree and building are among these object names."""
    present = set(names)
    return frozenset(kind for kind, known in NAMES.items() if not known.isdisjoint(present))


def _open_scenes(file: Path) -> Iterator[tuple[str | None, dict]]:
    """The scenes of a file of JSON, or of all such files in a zip."""
    if not file.is_file():
        raise DataError(f"{file} is missing; {TAKES}")
    if not zipfile.is_zipfile(file):
        with file.open(encoding="utf-8", errors="replace") as stream:
            yield from members(stream, str(file))
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".json") and not name.startswith("__MACOSX"):
                    with archive.open(name) as stream:
                        yield from members(
                            io.TextIOWrapper(stream, "utf-8", errors="replace"), f"{file}, {name}"
                        )
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{file} is broken ({error}); get it again") from error


def members(stream: TextIO, what: str) -> Iterator[tuple[str | None, dict]]:
    """The scenes of a JSON mapping (key, scene) or list (None, scene), one in memory at a time.

    The files have 1 GB and more.

    Raises:
        DataError: the text is no mapping or list of mappings, or it ends before its last bracket.
    """
    decoder = json.JSONDecoder()
    text = stream.read(CHUNK).lstrip()
    closing = {"{": "}", "[": "]"}.get(text[:1])
    if closing is None:
        raise DataError(f"{what} is no JSON mapping or list; it begins with {text[:20]!r}")
    text = text[1:]
    while True:
        key = re.match(r'[\s,]*(?:"([^"]*)"\s*:\s*)?', text)
        begin = text[key.end() : key.end() + 1]
        if begin == closing:
            return
        try:
            scene, end = decoder.raw_decode(text, key.end())
        except ValueError:
            # cut by the end of the chunk, or broken
            scene = None
        if isinstance(scene, dict):
            yield key[1], scene
            text = text[end:]
            continue
        # '"': a key that is cut
        may_go_on = begin in ("", "{", '"') and len(text) < LONGEST
        more = stream.read(CHUNK) if may_go_on else ""
        if not more:
            raise DataError(f"{what} is cut off or no scene graphs, at {text[:40]!r}; get it again")
        text += more
