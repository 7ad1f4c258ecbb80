"""One decoder for training, evaluation, contact sheets and labelling, of files in any format."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from alpt_lib.errors import DataError, one_line

# what is too large is refused by name; before that, a warning says nothing that helps
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

GREYS_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
DEEP_GREYS = (*GREYS_16_BIT, "I", "F")
# as a camera or scanner of 12 bits leaves them: nearly black, for 16 bits are taken as such
DARK = 4096
# under which a picture's info says what was taken for black and white
ASSUMED = "black to white"


def decode(file: Path, size: int) -> np.ndarray:
    """(size, size, 3) uint8: an image as a person sees it, for training, evaluation and labelling.

    Upright, first frame, transparency on white, greys of any depth scaled to 0-255.

    Raises:
        DataError: it cannot be read; the decoder's own reason.
    """
    image = open_picture(file)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def open_picture(file: Path, draft: int = 0) -> Image.Image:
    """The picture in a file in RGB, at its full size.

    Args:
        draft: px; a large jpeg may be decoded at a fraction of its size, but no smaller than this.
    Raises:
        DataError: it cannot be read; the decoder's own reason.
    """
    try:
        with Image.open(file) as image:
            if draft:
                image.draft("RGB", (draft, draft))
            return _in_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # decoders of damaged files raise whatever they like
        raise DataError(one_line(error).replace(f" {str(file)!r}", "")) from error


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP_GREYS:
        values = np.asarray(image)
        values = np.where(np.isfinite(values), values, 0).astype(np.float64)
        (black, white), assumed = _limits(values, image.mode)
        levels = np.round((values - black) / (white - black or 1) * 255).astype(np.uint8)
        grey = Image.fromarray(levels).convert("RGB")
        grey.info[ASSUMED] = assumed
        return grey
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _limits(values: np.ndarray, mode: str) -> tuple[tuple[float, float], str]:
    """What is taken for black and white; and in words, where that is no more than an assumption.

    16 bits by their full range; others as 0-1, 0-255 or 16 bits, what they fit in. Any other range
    is stretched from its darkest to its brightest value.
    """
    if mode in GREYS_16_BIT:
        is_dark = values.max() < DARK
        return (0.0, 65535.0), f"0 to 65535, though none reaches {DARK}" if is_dark else ""
    low = float(values.min())
    high = float(values.max())
    for white in (1, 255, 65535) if mode == "F" else (255, 65535):
        if low >= 0 and high <= white:
            return (0.0, float(white)), f"0 to {white}"
    return (low, high), "its own darkest to brightest value"


def assumptions(assumed: list[str]) -> str:
    """One line on deep greys that do not say what black and white are; "" for none.

    Args:
        assumed: what `open_picture` noted of each under `ASSUMED`.
    """
    counts = Counter(filter(None, assumed))
    if not counts:
        return ""
    listed = ", ".join(f"{range_} ({n})" for range_, n in counts.most_common())
    return (
        f"greys of more than 8 bits ({counts.total()}) do not say what black and white are; taken "
        f"as black to white: {listed}"
    )
