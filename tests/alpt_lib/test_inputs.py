"""What networks read: pictures as a person sees them, texts as tokens; decoded once; augmented."""

from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from alpt_lib import inputs
from alpt_lib.datasets import read_dataset
from alpt_lib.errors import DataError
from alpt_lib.inputs import (
    Inputs,
    Kept,
    images,
    on_demand,
    on_device,
    room_on_gpu,
    spare,
    to_device,
    tokens,
)
from alpt_lib.pictures import ASSUMED, decode, open_picture

RNG = np.random.default_rng(0)
CPU = torch.device("cpu")
# blocks of 8 px, which a jpeg keeps
COLOURS = np.kron(RNG.integers(0, 256, (2, 2, 3)), np.ones((8, 8, 1))).astype(np.uint8)
GREY = RNG.integers(0, 256, (16, 16)).astype(np.uint8)
ALPHA = np.repeat(np.array([0, 64, 200, 255], np.uint8), 64).reshape(16, 16)
# EXIF orientations 1 to 8: quarters of a turn to the left until upright, after mirroring (-1)
TURNS = [(0, 1), (0, -1), (2, 1), (2, -1), (1, -1), (-1, 1), (-1, -1), (1, 1)]


def decoded(picture: Image.Image, file, **options) -> np.ndarray:
    """Through a file, without resizing; as int, for differences."""
    picture.save(file, **options)
    return decode(file, 16).astype(int)


@pytest.mark.parametrize(("orientation", "turn"), list(enumerate(TURNS, 1)))
@pytest.mark.parametrize(("suffix", "off"), [(".png", 0), (".jpg", 3), (".tif", 0)])
def test_a_photo_stands_upright(tmp_path, orientation, turn, suffix, off):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif, "quality": 100, "subsampling": 0}
    array = decoded(Image.fromarray(COLOURS), tmp_path / f"photo{suffix}", **options)
    quarters, mirror = turn
    assert abs(array - np.rot90(COLOURS[:, ::mirror].astype(int), quarters)).max() <= off


@pytest.mark.parametrize(
    ("grey", "seen"),
    [
        (GREY, GREY),
        (GREY > 99, (GREY > 99) * 255),
        # 16 bits by their full range, however little of it is used
        (GREY.astype("<u2") * 257, GREY),
        (GREY.astype(">u2") * 257, GREY),
        (GREY.astype("<u2"), GREY / 257),
        # of 32 bits: what the values fit in, else stretched
        (GREY.astype(np.int32), GREY),
        (GREY.astype(np.int32) * 257, GREY),
        (GREY.astype(np.int32) * 1000 - 70_000, (GREY - GREY.min()) / np.ptp(GREY) * 255),
        (GREY / np.float32(255), GREY),
        (GREY.astype(np.float32), GREY),
        (GREY * np.float32(257), GREY),
        (GREY.astype(np.float32) - 999, (GREY - GREY.min()) / np.ptp(GREY) * 255),
        (np.full((16, 16), -5, np.float32), np.zeros((16, 16))),
        (np.where(GREY < 9, np.nan, GREY).astype(np.float32), np.where(GREY < 9, 0, GREY)),
    ],
)
def test_greys_of_any_depth_are_scaled(tmp_path, grey, seen):
    # png holds no more than 16 bits
    for suffix in [".tif", ".png"][: 2 if grey.itemsize <= 2 else 1]:
        array = decoded(Image.fromarray(grey), tmp_path / f"grey{suffix}")
        assert abs(array - seen[:, :, None]).max() <= 0.501
        # what is no more than an assumption is said
        assumed = open_picture(tmp_path / f"grey{suffix}").info.get(ASSUMED, "")
        assert bool(assumed) == (grey.itemsize == 4 or (grey.itemsize == 2 and grey.max() < 4096))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "P"])
def test_what_is_transparent_stands_on_white(tmp_path, mode):
    picture = Image.fromarray(GREY if mode == "LA" else COLOURS)
    own = np.asarray(picture.convert("RGB"))
    options = {}
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(ALPHA))
        share = ALPHA[:, :, None] / 255
        seen = own * share + 255 * (1 - share)
    else:
        # one colour stands for transparent
        first = (COLOURS[0, 0] == COLOURS).all(axis=2, keepdims=True)
        seen = np.where(first, 255, own)
        picture = picture if mode == "RGB" else picture.quantize(8)
        options["transparency"] = picture.getpixel((0, 0))
    assert picture.mode == mode
    assert abs(decoded(picture, tmp_path / "drawing.png", **options) - seen).max() <= 1


def test_inks_become_light(tmp_path):
    cmyk = np.dstack([COLOURS, GREY // 2])
    seen = (255 - cmyk[:, :, :3].astype(int)) * (255 - cmyk[:, :, 3:].astype(int)) / 255
    picture = Image.frombytes("CMYK", (16, 16), cmyk.tobytes())
    array = decoded(picture, tmp_path / "print.tif")
    assert abs(array - seen).max() <= 1


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".webp"])
def test_of_several_frames_the_first_is_seen(tmp_path, suffix):
    frames = [Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (50, 200)]
    options = {"save_all": True, "append_images": frames[1:], "lossless": True}
    assert set(decoded(frames[0], tmp_path / f"film{suffix}", **options).flat) == {50}


def test_pictures_are_resized_whatever_their_shape(tmp_path):
    Image.new("RGB", (64, 24), (10, 20, 30)).save(tmp_path / "a.png")
    array = decode(tmp_path / "a.png", 16)
    assert array.shape == (16, 16, 3)
    assert (array == [10, 20, 30]).all()


def test_a_draft_is_smaller_than_the_picture_but_no_smaller_than_asked(tmp_path):
    Image.new("RGB", (800, 400)).save(tmp_path / "a.jpg")
    assert open_picture(tmp_path / "a.jpg").size == (800, 400)
    assert open_picture(tmp_path / "a.jpg", draft=100).size == (200, 100)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b: b[: len(b) // 2], r"^\w+: image file is truncated"),
        (lambda b: b"no picture", r"^UnidentifiedImageError: cannot identify image file$"),
        (lambda b: b"", r"^UnidentifiedImageError: cannot identify image file$"),
    ],
)
def test_what_cannot_be_read_gives_the_decoders_own_reason_without_the_path(tmp_path, spoil, said):
    file = tmp_path / "a b.png"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(file)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DataError, match=said):
        decode(file, 16)


def test_images_are_decoded_once_in_manifest_order_and_on_demand_alike(birds_folder, monkeypatch):
    data = read_dataset(birds_folder)
    array = images(data, "pool", 20)
    assert (array.shape, array.dtype) == ((100, 20, 20, 3), np.uint8)
    with Image.open(data.files("pool")[7]) as image:
        expected = np.asarray(image.resize((20, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(array[7], expected)
    rows = np.array([3, 70, 3])
    decoded_late = on_demand(data.files("pool"), 20)
    assert decoded_late.shape == array.shape
    assert np.array_equal(decoded_late[rows], array[rows])
    monkeypatch.setattr(inputs, "decode", None)
    assert np.array_equal(images(data, "pool", 20), array)
    assert np.array_equal(decoded_late[rows[:2]], array[rows[:2]])


def test_several_processes_at_once_decode_once(birds_copy, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    data = read_dataset(birds_copy)
    calls = Mock(wraps=decode)
    monkeypatch.setattr(inputs, "decode", calls)
    with ThreadPoolExecutor() as threads:
        first, *others = threads.map(lambda _: np.array(images(data, "pool", 32)), range(4))
    assert calls.call_count == 100
    assert all(np.array_equal(first, other) for other in others)


def test_an_image_that_was_replaced_by_one_of_equal_size_is_decoded_again(birds_copy):
    seen = []
    for value in (10, 20):
        Image.new("RGB", (32, 32), (value,) * 3).save(birds_copy / "images" / "0.png", "BMP")
        seen.append(images(read_dataset(birds_copy), "pool", 32))
    assert [set(array[0].flat) for array in seen] == [{10}, {20}]
    assert np.array_equal(seen[0][1:], seen[1][1:])


def test_images_that_cannot_be_read_are_refused_by_name_or_black_where_they_are_accepted(
    birds_copy, decoded
):
    for i in (101, 103):
        (birds_copy / "images" / f"{i}.png").write_bytes(b"no picture")
    data = read_dataset(birds_copy)
    before = set(decoded.glob("*.[np]*"))
    said = (
        r"2 image\(s\) cannot be read: images/101.png \(.*\), images/103.png \(.*; replace or drop"
    )
    with pytest.raises(DataError, match=said):
        images(data, "val", 32)
    assert set(decoded.glob("*.[np]*")) == before
    told = []
    data.unreadable_images = lambda split, reasons: told.append((split, sorted(reasons)))
    for _ in range(2):
        array = images(data, "val", 32)
        assert np.flatnonzero((array == 0).all(axis=(1, 2, 3))).tolist() == [1, 3]
    # also of those that were decoded before
    assert told == [("val", [1, 3])] * 3


def test_texts_are_tokenised_once_a_kind_and_padded_to_the_longest(reviews_folder, monkeypatch):
    calls = []

    def lengths(texts: list[str]) -> np.ndarray:
        calls.append(len(texts))
        longest = max(map(len, texts))
        return np.array([[len(text)] * len(text) + [0] * (longest - len(text)) for text in texts])

    monkeypatch.setattr(inputs, "TEXTS_AT_ONCE", 7)
    data = read_dataset(reviews_folder)
    texts = data.rows("val")["text"]
    array = tokens(data, "val", lengths, "lengths", padding=0)
    assert calls == [7, 7, 7, 7, 2]
    assert (array.shape, array.dtype) == ((30, max(map(len, texts))), np.int32)
    for row, text in zip(array, texts, strict=True):
        assert row.tolist() == [len(text)] * len(text) + [0] * (len(row) - len(text))
    tokens(data, "val", None, "lengths", padding=0)
    with pytest.raises(TypeError):
        tokens(data, "val", None, "of another kind", padding=0)


def test_augmentation_flips_about_half_crops_within_the_image_and_leaves_what_is_stored_alone():
    array = np.zeros((400, 6, 6, 3), dtype=np.uint8)
    # a line at the left edge
    array[:, :, 0] = 255
    stored = array.copy()
    rows = np.arange(400)
    flipped = Inputs(array, 6, "flip").batch(rows, CPU, np.random.default_rng(0))
    assert 150 < (flipped[:, 0, -1, 0] == 255).sum() < 250
    cropped = Inputs(array, 4, "crop_flip").batch(rows, CPU, np.random.default_rng(0))
    assert cropped.shape == (400, 4, 4, 3)
    # one offset of three shows the line
    assert 80 < (cropped[:, 0] == 255).any(dim=2).any(dim=1).sum() < 190
    assert np.array_equal(array, stored)
    assert np.array_equal(Inputs(array, 6, "flip").batch(rows, CPU), stored)


@pytest.mark.parametrize(
    ("free", "n_new", "n_kept"),
    # of 80 GB half is reserved; so many of the images fit in what else is free
    [(80, 4, 4), (70, 4, 3), (40, 4, 0), (39, 4, 0), (70, 2, 2)],
)
def test_images_stay_on_a_device_as_far_as_they_fit_in_what_is_free_less_a_reserve(
    free, n_new, n_kept
):
    stored = RNG.integers(0, 256, (10, 2, 2, 3), dtype=np.uint8)
    read = []

    def read_rows(rows):
        read.append(rows.tolist())
        return to_device(stored[rows], CPU)

    # an image has 12 bytes, which stand for 10 GB; after the first batch nothing is free
    room = iter([spare(12 * free // 10, 12 * 80 // 10)])
    kept = Kept(read_rows, stored.shape, lambda: next(room, 0))
    rows = np.array([7, 2, 9, 4])[:n_new]
    asked = np.concatenate([rows[::-1], rows])
    for _ in range(2):
        batch = Inputs(kept).batch(asked, CPU)
        assert batch.dtype == torch.uint8
        assert np.array_equal(batch, stored[asked])
    # first come, first kept; the others are read again, each once a batch
    first = rows[::-1].tolist()
    assert read == [first, *([first[n_kept:]] if n_kept < n_new else [])]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_images_come_as_they_are_whether_they_stay_there_or_pass_by_pinned_memory():
    gpu = torch.device("cuda")
    stored = RNG.integers(0, 256, (500, 32, 32, 3), dtype=np.uint8)
    staying = on_device(stored, gpu, lambda: room_on_gpu(gpu))
    passing = on_device(stored, gpu, lambda: 0)
    for _ in range(20):
        rows = RNG.integers(0, 500, 128)
        # what is read next must not overwrite what is being copied
        batches = [to_device(stored[rows], gpu), staying[rows], passing[rows]]
        for batch in batches:
            assert np.array_equal(batch.cpu(), stored[rows])


def test_a_text_batch_is_no_longer_than_its_longest_text():
    texts = Inputs(np.array([[5, 6, 1, 1, 1], [5, 1, 1, 1, 1], [5, 6, 7, 8, 1]]), padding=1)
    assert texts.batch(np.array([0, 1]), CPU).tolist() == [[5, 6], [5, 1]]
    assert texts.order(np.array([1, 0, 2])).tolist() == [2, 1, 0]
    parts = list(texts.micro_batches(np.array([1, 0, 2]), 2, CPU, np.random.default_rng(0)))
    assert [(part.shape[1], rows.tolist()) for part, rows in parts] == [(4, [2, 0]), (1, [1])]
