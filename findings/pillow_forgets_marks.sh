#!/usr/bin/env bash
# Pillow saves a picture again with its comment, but without the marks that say it is generated
# Harms: data
# Call: Image.open("fake.jpg").save("again.jpg")
# Guess: the metadata of a picture are all kept, or all lost.
# Effect: each crop or change of size loses IPTC's source type in XMP, together with EXIF. The metadata only look as if they were kept.
# Instead: use save(..., exif=image.getexif(), xmp=image.info.get("xmp")), and put a mark into the pixels too.
# xaifake: no, the mark is drawn into the picture: tests/data/test_clips.py::test_our_own_clips_are_recognised_and_their_parents_found
source "$(dirname "$0")/environment.bash" pillow==13.0.0 numpy==2.4.6
python - <<'PYTHON'
import PIL
from PIL import Image, ImageCms

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" i:DigitalSourceType='
    b'"http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
)
exif = Image.Exif()
exif[0x010E] = "a manipulated picture"
profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
found = {}
for name, more in (("JPEG", {"comment": b"made by me"}), ("WEBP", {})):
    Image.new("RGB", (64, 64), "grey").save("fake", name, exif=exif, xmp=XMP, icc_profile=profile, **more)
    with Image.open("fake") as image:
        image.crop((8, 8, 56, 56)).save("again", name)
        image.crop((8, 8, 56, 56)).save("kept", name, exif=image.getexif(), xmp=image.info.get("xmp"))
    for path in ("fake", "again", "kept"):
        with Image.open(path) as image:
            there = {"EXIF": bool(image.getexif()), "XMP": "xmp" in image.info, "profile": "icc_profile" in image.info, "comment": "comment" in image.info}
        found[name, path] = [kind for kind, yes in there.items() if yes]
print("Pillow", PIL.__version__)
for (name, path), kinds in found.items():
    print(f"{name}, {path}: {', '.join(kinds) or 'nothing'}")
assert found["JPEG", "fake"] == ["EXIF", "XMP", "profile", "comment"] and found["WEBP", "fake"] == ["EXIF", "XMP", "profile"]
assert all({"EXIF", "XMP"} <= set(found[name, "kept"]) for name in ("JPEG", "WEBP"))
assert found["JPEG", "again"] == ["comment"] and found["WEBP", "again"] == [], "other parts are kept now"
print("After a crop a JPEG has its comment and no mark, a WebP nothing.")
PYTHON
