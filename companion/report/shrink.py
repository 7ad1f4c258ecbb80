"""Pictures in fewer bytes: a palette of 256 colours instead of 16 million, for files, notebooks and what svg embeds."""

import base64
import io
import re

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def shrink_png(content: bytes) -> bytes:
    """The same picture on white with at most 256 colours; as it was, if that is no smaller. Text such as titles is kept."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode == "P":
            return content
        kept, text = PngInfo(), {k: v for k, v in image.info.items() if isinstance(v, str)}
        for key, value in text.items():
            kept.add_text(key, value)
        picture = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert(
            "RGB"
        )
        target = io.BytesIO()
        flat.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            target, "png", optimize=True, pnginfo=kept, dpi=image.info.get("dpi")
        )
    return min(content, target.getvalue(), key=len)


def shrink_svg(text: str) -> str:
    """Every png inside is shrunk; text stays text."""

    def smaller(found: re.Match) -> str:
        return f"data:image/png;base64,{base64.b64encode(shrink_png(base64.b64decode(found[1]))).decode()}"

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", smaller, text)
