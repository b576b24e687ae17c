"""What a picture or video is, told to machines (chapter 01_dataset): IPTC's digital source type.

The words on a picture are for people. Beside them each file that the project makes says in its
metadata, as XMP, from what kind of source it is, by a term of the IPTC's vocabulary
(http://cv.iptc.org/newscodes/digitalsourcetype/). The pixels stay as they are.

A swapped face is `SWAP`, "compositeCapture": a composite of several elements that are all captures
of real life, here two people's portraits. "compositeSynthetic" and
"compositeWithTrainedAlgorithmicMedia" would say that generative AI made a part, which is not so.
Clips are composites of this kind also where no face was swapped, since portraits were animated.
"""

import io
import re
import struct
import zlib

from PIL import Image

from xaifake.errors import UserError

SWAP = "compositeCapture"
COMPOSITE = "composite"  # of elements of any kind, as of a user's frame and a map
FIGURE = "dataDrivenMedia"  # a digital media representation of data
MASK = "algorithmicMedia"
ILLUSTRATION = "manipulated research illustration"
LABELLED = ("animated from portraits, face not swapped", ILLUSTRATION)  # by the label
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"
_MP4_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # of ISO 16684-3
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SVG_ROOT = re.compile(rb"<svg\s[^>]*>")
_FOUND = re.compile(rb"DigitalSourceType(?:=[\"']|>)" + re.escape(_TERMS.encode()) + rb"(\w+)")


def xmp(source: str, description: str = "") -> bytes:
    """Return the XMP that says of what kind of source a file is.

    Parameters
    ----------
    source : str
        A term of the vocabulary, such as `SWAP`.
    description : str
        In words; plain text without markup.
    """
    said = f' xmp:Label="{description}"' if description else ""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'Iptc4xmpExt:DigitalSourceType="{_TERMS}{source}"{said}/></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="r"?>'
    ).encode()


def marked(data: bytes, source: str, description: str = "") -> bytes:
    """Return a JPEG, PNG or SVG file with its mark; one that has a mark is returned as it is.

    Nothing is compressed anew.

    Parameters
    ----------
    data : bytes
    source, description : str
        See `xmp`.

    Raises
    ------
    UserError
        If the bytes are none of these.
    """
    if source_type(data) is not None:
        return data
    said = xmp(source, description)
    if data.startswith(b"\xff\xd8"):
        place = 2
        if data[2:4] == b"\xff\xe0":  # JFIF's own segment comes first
            place += 2 + struct.unpack(">H", data[4:6])[0]
        body = _JPEG_XMP + said
        return data[:place] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[place:]
    if data.startswith(_PNG_SIGNATURE):
        place = len(_PNG_SIGNATURE) + 25  # behind IHDR, the first chunk
        body = b"iTXt" + _PNG_XMP + said
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:place] + chunk + data[place:]
    if (root := _SVG_ROOT.search(data)) is not None:
        inner = said[said.index(b"?>") + 2 : said.rindex(b"<?xpacket")]
        return data[: root.end()] + b"<metadata>" + inner + b"</metadata>" + data[root.end() :]
    raise UserError(
        f"Only JPEG, PNG and SVG files take a mark; these bytes begin with {data[:8]!r}."
    )


def mp4_box(source: str, description: str = "") -> bytes:
    """Return the box that is appended to an MP4 file as its mark; players pass over it."""
    said = xmp(source, description)
    return struct.pack(">I", 24 + len(said)) + b"uuid" + _MP4_XMP + said


def source_type(data: bytes) -> str | None:
    """Return the term that a file is marked with, None without a mark.

    Parameters
    ----------
    data : bytes
        Of a JPEG, PNG, WebP or MP4 file, or of an SVG.
    """
    if data[4:8] == b"ftyp" or data.lstrip().startswith((b"<?xml", b"<svg")):
        found = _FOUND.search(data)
    else:
        with Image.open(io.BytesIO(data)) as picture:
            said = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
        found = _FOUND.search(said.encode() if isinstance(said, str) else said)
    return found.group(1).decode() if found else None
