"""Make the page of a small study: do maps help people to rely on a detector where they should?

    python tools/make_study.py

writes `book/study/study.html`, a page without a server. A reader consents, judges forty faces alone
and then again with the detector's answer, half of them with a map, answers five questions about the
page of chapter 15, and keeps the answers as a file; nothing is sent anywhere. The faces are those
that come with the package, of people new to the detector: twenty that it judges rightly and twenty
wrongly, by a draw with seed 0, as many fakes as genuine ones among each as there are.
`xaifake.video.reliance` analyses the files.
"""

import base64
import json
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

import chapters
from xaifake.data import load_faces
from xaifake.data.faces import encode_jpeg
from xaifake.data.marks import LABELLED, SWAP, marked
from xaifake.detector import Detector
from xaifake.video.case_report import find_configs, right_places
from xaifake.video.pictures import SHOWN, captioned, heatmap_pictures
from xaifake.video.reliance import ITEMS
from xaifake.video.wording import below_map, method_title

PAGE = chapters.ROOT / "book" / "study" / "study.html"
METHOD = "gradient (absolute)"
MARK = ["research picture, may be manipulated"]
TEMPLATE = Path(__file__).with_name("study.html.jinja")
# Question, what can be said, and which of it is right.
QUESTIONS = (
    (
        "The page says: moderate signs of a swapped face. How likely is it that there is one?",
        ("Nine in ten", "That depends on how common swapped faces are where the video is from",
         "As likely as the score says"), 1,
    ),
    (
        "The page says: none of the signs that the software looks for. What do you know now?",
        ("The video is genuine", "The face is genuine, the rest may not be",
         "Not whether it is genuine"), 2,
    ),
    (
        "A map is red on the mouth. What does that show?",
        ("Something about the software", "The mouth was changed", "The mouth looks unnatural"), 0,
    ),
    (
        "Your video is from the internet. What may you use the page's answer for?",
        ("To warn others of the video", "For nothing that concerns the people in it",
         "To clear the person shown"), 1,
    ),
    (
        "The answer matters. What do you do next?",
        ("Run the software again with more frames", "Publish the answer with its doubt",
         "Look for the earliest upload and the original file, and ask an examiner"), 2,
    ),
)  # fmt: skip


def choose(labels, advice):
    """Return the indices of the study's faces: half with wrong advice, balanced if possible."""
    rng, chosen = np.random.default_rng(0), []
    for wrong in (False, True):
        pools = [rng.permutation(np.flatnonzero((labels == k) & ((advice != labels) == wrong)))
                 for k in (0, 1)]  # fmt: skip
        half = ITEMS // 2
        genuine = min(len(pools[0]), max(half // 2, half - len(pools[1])))
        chosen += [*pools[0][:genuine], *pools[1][: half - genuine]]
    if len(chosen) < ITEMS:
        raise ValueError(f"{len(chosen)} of {ITEMS} faces with right and wrong advice")
    return np.array(chosen)


def items(detector, faces):
    """Return what the page shows of each face of the study."""
    advice = (detector.logits(faces.images) > 0).astype(int)
    chosen = choose(faces.labels, advice)
    faces, advice = faces[chosen], advice[chosen]
    (config,), tested = find_configs([METHOD]), right_places(detector.scale).loc[METHOD]
    heatmaps, _ = config.maps(detector, faces.images)
    shown = []
    for k, label in enumerate(faces.labels.tolist()):
        said = [*below_map(tested), *MARK]
        (drawn,) = heatmap_pictures(heatmaps[[k]], faces[[k]], said, source=(SWAP, LABELLED[label]))
        large = Image.fromarray(faces.images[k]).resize((SHOWN, SHOWN))
        face = encode_jpeg(np.asarray(captioned(large, MARK)))
        face = marked(face, SWAP, LABELLED[label])
        row = {"item": str(k), "truth": label, "advice": int(advice[k])}
        shown.append({**row, "face": _url("jpeg", face), "map": _url("webp", drawn)})
    return shown


def render(shown):
    """Return the page."""
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), autoescape=True)
    questions = [{"asked": asked, "said": said, "right": right} for asked, said, right in QUESTIONS]
    data = json.dumps({"items": shown, "questions": questions}).replace("<", "\\u003c")
    return template.render(data=data, method=method_title(METHOD), count=len(shown))


def _url(kind, data):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(items(Detector.pretrained(), load_faces())), encoding="utf-8")
    print(f"The page is {PAGE}")
