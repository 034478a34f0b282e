"""Pictures of every kind, made by Pillow: another program than the one that is tested.

    gallery.py make FOLDER    writes them there
    gallery.py look FOLDER    prints what the files there are, as JSON
"""

import json
import pathlib
import sys

from PIL import Image, ImageSequence

SIZE = (60, 40)
SECRET = "SECRET-PLACE"


def make(folder):
    colour = Image.new("RGB", SIZE, (200, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: the camera was held upright.
    exif[0x010E] = SECRET  # ImageDescription
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 18: SECRET})  # GPS
    for name in ("photo.jpg", "photo.png", "photo.webp"):
        colour.save(folder / name, exif=exif)
    colour.save(folder / "progressive.jpg", progressive=True, comment=SECRET)
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    colour.convert("L").save(folder / "grey.jpg")
    colour.quantize(4).save(folder / "palette.png", transparency=0)
    colour.convert("1").save(folder / "bits.png")
    colour.convert("LA").save(folder / "grey-alpha.png")
    Image.new("I;16", SIZE, 30000).save(folder / "deep.png")
    colour.quantize(4).save(folder / "still.gif")
    frames = [Image.new("RGB", SIZE, (number * 20, 40, 40)) for number in range(12)]
    for name in ("moving.gif", "moving.webp", "moving.png"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=80)
    many = [Image.new("P", (8, 8), number) for number in range(250)]
    many[0].save(folder / "many.gif", save_all=True, append_images=many[1:], duration=20)


def look(folder):
    seen = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            frames = sum(1 for frame in ImageSequence.Iterator(image) if frame.load())
            image.seek(0)
            seen[path.name] = {
                "format": image.format,
                "size": list(image.size),
                "frames": frames,
                "colour": list(image.convert("RGB").getpixel((5, 5))),
                "has_exif": len(image.getexif()) > 0,
                "has_secret": SECRET.encode() in path.read_bytes(),
            }
    print(json.dumps(seen))


{"make": make, "look": look}[sys.argv[1]](pathlib.Path(sys.argv[2]))
