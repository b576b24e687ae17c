"""The command line: one sub-command per stage, from clips to judged explanations."""

import json
import sys
from contextlib import ExitStack, contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pandas as pd
import typer

from xaifake.errors import UserError
from xaifake.scales import SCALE, SCALES

_FORMER = {"--twins": "--originals", "--parent": "--original"}  # go with the next release


class Cli(typer.core.TyperGroup):
    """A group of commands that tells a caller's mistake in a sentence and exits with 2."""

    def parse_args(self, ctx, args):
        """Take the former names of options too."""
        for option in _FORMER.keys() & set(args):
            print(f"xaifake: {option} is {_FORMER[option]} now.", file=sys.stderr)
        return super().parse_args(ctx, [_FORMER.get(arg, arg) for arg in args])

    def invoke(self, ctx):
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            print(f"xaifake: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            raise _stopped("stopped.") from None


app = typer.Typer(
    cls=Cli,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From videos of faces to a deepfake detector whose explanations are measured.",
)

Folder = Annotated[
    Path,
    typer.Argument(help="Folder of a data set, or a table of videos (.csv).", show_default=False),
]
Compression = Annotated[
    str | None,
    typer.Option(help="Of FaceForensics++: c23, c40 or raw; by default the first that is there."),
]
Faces = Annotated[
    str, typer.Argument(help="Faces of 'extract': a folder or an fsspec URL.", show_default=False)
]
Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Workers = Annotated[int | None, typer.Option(help="Processes; by default one a core.")]
Scale = Annotated[float, typer.Option(help="Side of the square over the side of the face's box.")]
Fold = Annotated[
    int | None,
    typer.Option(help="The fold that is left out of training and tested (clips of size 'folds')."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; all else goes to stderr.")
]
OwnFaces = Annotated[
    str | None,
    typer.Option(help="Faces of 'extract'; by default those that come with the package."),
]
OwnWeights = Annotated[
    Path | None, typer.Option(help="A weights file of 'train'; by default the shipped one.")
]
OwnModel = Annotated[
    Path | None,
    typer.Option("--model", help="A detector of your own that Keras saved, FILE.keras."),
]
ValueRange = Annotated[
    tuple[float, float], typer.Option(help="What black and white are to that model.")
]
FakeClass = Annotated[
    int, typer.Option("--fake", help="Which class means fake to that model, 0 or 1.")
]


def _detector(scale, weights, model, value_range, fake, faces, split="test"):
    """Return the detector that is asked for: shipped, of `train`, or of somebody else."""
    from xaifake.data import load_faces
    from xaifake.detector import Detector

    if model is None:
        return Detector.pretrained(scale, weights)
    if weights is not None:
        raise UserError("--weights and --model name two detectors: give one of them.")
    known = None if faces is None else load_faces(faces, split, scale)
    return Detector.from_keras(model, value_range, fake, scale, faces=known)


def _cross_fitted(folder, scales, other):
    """Return the detectors of runs named SCALE_FOLD in a folder, and their folds."""
    from xaifake.detector import Detector

    runs = {(one, path.parent.name.partition("_")[2]): path for one in scales
            for path in sorted(folder.glob(f"{one}_*/weights.safetensors"))}  # fmt: skip
    folds = [fold for _, fold in runs]
    if other or not runs or not all(map(str.isdigit, folds)):
        raise UserError(
            f"No runs named SCALE_FOLD of the scales {', '.join(map(str, scales))} in {folder}, or "
            "another detector beside them: give a folder that tools/cross_fit.py wrote, alone."
        )
    detectors = [Detector.pretrained(one, path) for (one, _), path in runs.items()]
    return detectors, list(map(int, folds))


def _stopped(word):
    print(f"xaifake: {word}", file=sys.stderr)
    return typer.Exit(130)


@contextmanager
def _goes_on():
    """Say on Ctrl-C that what was done till then is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise _stopped("stopped; the same command goes on from here.") from None


@contextmanager
def _told(as_json):
    """Yield what a command found, a dict to fill, which is printed at the end if asked for."""
    found = {}
    if not as_json:
        yield found
        return
    with redirect_stdout(sys.stderr):
        yield found
    print(json.dumps(found, indent=2))


def _records(table):
    """Return a table as plain values, None for what is missing."""
    return json.loads(table.to_json(orient="records"))


class Size(StrEnum):
    """Sets of embedded clips."""

    tiny = "tiny"
    small = "small"
    full = "full"
    leakage = "leakage"
    folds = "folds"


class Split(StrEnum):
    """Ways to split videos into train, validation and test."""

    given = "given"
    person = "person"
    video = "video"


class Precision(StrEnum):
    """Keras dtype policies."""

    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


class Target(StrEnum):
    """What a map is to speak for."""

    fake = "fake"
    real = "real"


@app.command()
def clips(
    out: Out,
    size: Annotated[Size, typer.Option(help="Which set.")] = Size.small,
    seed: Seed = 0,
    workers: Workers = None,
    as_json: AsJson = False,
):
    """Make the embedded clips: real ones and face swaps, in DeepFakeDetection's own layout."""
    from xaifake.data.clips import make_clips

    with _told(as_json) as found, _goes_on():
        plan = make_clips(out, str(size), seed, workers)
        fakes = int(plan.label.sum())
        print(f"{len(plan) - fakes:,} real and {fakes:,} fake clips are in {out}")
        found |= {"folder": str(out), "real": len(plan) - fakes, "fake": fakes}


@app.command()
def catalogue(
    folder: Folder,
    compression: Compression = None,
    align: Annotated[
        bool, typer.Option("--align", help="Also align each fake to its original.")
    ] = False,
    workers: Workers = None,
    as_json: AsJson = False,
):
    """List what a data set's folder holds, and what is passed over, with the reason."""
    from xaifake.data import compare_with_dfd, read_catalogue, skipped_files
    from xaifake.data.extraction import align_catalogue

    with _told(as_json) as found:
        table = read_catalogue(folder, compression)
        counts = pd.crosstab(table.collection, table.label.map({0: "real", 1: "fake"}))
        print(counts.to_string())
        found["collections"] = counts.to_dict("index")
        compared = compare_with_dfd(table)
        if compared.found.any():
            print("DeepFakeDetection")
            print(compared.to_string())
        people = pd.concat([table.target, table.source.dropna()]).nunique()
        masks, originals = int(table.mask_path.notna().sum()), int(table.original.notna().sum())
        print(f"{people} people, {table.scene.nunique()} scenes")
        print(f"fakes with a mask: {masks:,}; with their original: {originals:,}")
        skipped = skipped_files(folder, compression)
        for path, reason in skipped.items():
            print(f"not understood: {path} ({reason})")
        found |= {"videos": compared.to_dict("index"), "people": people}
        found |= {"scenes": table.scene.nunique(), "with_mask": masks, "with_original": originals}
        found["skipped"] = [{"path": p, "reason": why} for p, why in skipped.items()]
        if align:
            pairs = align_catalogue(table, workers)
            found["pairs"] = _records(pairs)
            good = pairs.status == "pair"
            print(f"fakes aligned to their original: {good.sum():,} of {originals:,}")
            for row in pairs[~good].itertuples():
                print(f"no pair: {row.video} ({row.status})")


@app.command()
def extract(
    folder: Folder,
    out: Annotated[str, typer.Option(help="Folder to write to, or an fsspec URL (s3://...).")],
    compression: Compression = None,
    scale: Annotated[
        list[float], typer.Option(help="Side of the square over the box; several allowed.")
    ] = SCALES,  # type: ignore[assignment]
    split: Annotated[
        Split,
        typer.Option(help="'given': the folder's own (clips.csv); else drawn by person or video."),
    ] = Split.person,
    frames_per_fake: Annotated[int, typer.Option(help="Frames of a fake video.")] = 12,
    frames_per_real: Annotated[
        int | None, typer.Option(help="Frames of a real one; by default what balances the classes.")
    ] = None,
    originals: Annotated[
        bool,
        typer.Option(help="Also cut the frames of its original that each fake was made from."),
    ] = False,
    size: Annotated[
        int, typer.Option(help="Pixels of the squares' side, as a detector takes them.")
    ] = 128,
    full_search: Annotated[
        bool, typer.Option(help="Search every frame whole, which takes longer.")
    ] = False,
    seed: Seed = 0,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler, or 'local' for a Dask cluster of --workers "
            "processes; without it the processes are a plain pool."
        ),
    ] = None,
    as_json: AsJson = False,
):
    """Cut the faces out of the videos; may be stopped and started again."""
    from xaifake.data import extract_faces, frames_per_video, read_catalogue, sampling_rates
    from xaifake.data.dataset import read_statuses

    with _told(as_json) as found, _goes_on():
        videos = read_catalogue(folder, compression)
        table = _split(videos, split, seed)
        print(sampling_rates(table, frames_per_fake).to_string(index=False))
        frames = frames_per_video(table, frames_per_fake)
        frames["real"] = frames_per_real or frames["real"]
        manifest = extract_faces(
            table, out, scale, frames, originals, size, full_search=full_search, workers=workers,
            scheduler=scheduler,
        )  # fmt: skip
        print(f"The faces are in {out}")
        counts = manifest.groupby(["split", "label", "scale", "reason"]).size()
        found |= {"folder": out, "frames_per_video": frames}
        found |= {"left_out": videos.video[~videos.video.isin(table.video)].tolist()}
        found |= {"crops": _records(counts.rename("count").reset_index())}
        failed = read_statuses(out).query("status != 'ok'").rename(columns={"status": "reason"})
        found |= {"unreadable": _records(failed[["video", "reason"]])}


def _split(table, split, seed):
    from xaifake.data import split_by_person, split_by_video

    if split is Split.given:
        if "split" not in table:
            raise UserError("This folder brings no split of its own: use --split person.")
        return table
    if split is Split.video:
        return split_by_video(table, seed)
    kept = split_by_person(table, seed)
    if len(kept) < len(table):
        print(f"{len(table) - len(kept):,} fakes mix people of two splits and are left out")
    return kept


@app.command()
def train(
    faces: Faces,
    out: Out,
    scale: Scale = SCALE,
    epochs: Annotated[int, typer.Option(help="Epochs, each closed by a checkpoint.")] = 20,
    images_per_epoch: Annotated[int, typer.Option(help="Training images in an epoch.")] = 2000,
    patch_epochs: Annotated[int, typer.Option(help="First epochs on 80 x 80 patches.")] = 0,
    validation_images: Annotated[int, typer.Option(help="Faces scored after an epoch.")] = 400,
    batch_size: Annotated[int, typer.Option(help="Images in a step, even.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-3,
    precision: Annotated[Precision, typer.Option(help="Arithmetic.")] = Precision.float32,
    seed: Seed = 0,
    portraits: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of portraits to make self-blended fakes of; several allowed. The faces "
            "need their originals then.",
            show_default=False,
        ),
    ] = None,
    portrait_share: Annotated[
        float, typer.Option(help="Share of the training pairs that are portraits.")
    ] = 0.5,
    fold: Fold = None,
    as_json: AsJson = False,
):
    """Train Xception from scratch on extracted faces; may be stopped and started again."""
    from xaifake.detector.training import train as run

    with _told(as_json) as found, _goes_on():
        run(
            faces, out, scale, epochs, images_per_epoch, patch_epochs, validation_images,
            batch_size, learning_rate, str(precision), seed, portraits=portraits or (),
            portrait_share=portrait_share, fold=fold,
        )  # fmt: skip
        print(f"Weights, card and log are in {out}")
        found |= {"folder": str(out), **json.loads((out / "card.json").read_text("utf-8"))}


@app.command()
def evaluate(
    faces: Annotated[
        str | None,
        typer.Argument(help="Faces of 'extract': a folder or an fsspec URL.", show_default=False),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            help="Videos instead of faces: a data set's folder, or a table with the columns file, "
            "label and, if known, group and mask (.csv)."
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of each of those videos.")] = 16,
    compression: Compression = None,
    scale: Scale = SCALE,
    split: Annotated[str, typer.Option(help="Which split of the faces.")] = "test",
    fold: Fold = None,
    weights: OwnWeights = None,
    model: OwnModel = None,
    value_range: ValueRange = (-1, 1),
    fake: FakeClass = 1,
    out: Annotated[Path | None, typer.Option(help="Write the scores here as JSON.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
):
    """Score a detector per frame and per video, with intervals over people (or other groups)."""
    from xaifake.data import load_faces
    from xaifake.detector import evaluate as score
    from xaifake.runs import write_text

    with _told(as_json) as found, ExitStack() as cleanup:
        if (faces is None) == (videos is None):
            raise UserError("Give faces of 'extract', or --videos: one of the two.")
        if videos is not None:
            faces = cleanup.enter_context(TemporaryDirectory(prefix="xaifake-"))
            found["not_scored"] = _cut_to_score(videos, compression, faces, scale, frames, split)
        detector = _detector(scale, weights, model, value_range, fake, faces, split)
        scores = score(detector, load_faces(faces, split, scale, fold), seed, progress=True).scores
        print(scores.to_string(index=False, float_format="{:.3f}".format))
        found["scores"] = _records(scores)
        if out is not None:
            write_text(out, json.dumps(found["scores"], indent=2) + "\n")


def _cut_to_score(videos, compression, out, scale, frames, split):
    """Cut the faces of all videos, for one look at them; return what gave none, with the reason."""
    from xaifake.data import extract_faces, read_catalogue, skipped_files
    from xaifake.data.dataset import read_statuses

    table = read_catalogue(videos, compression).assign(split=split)
    manifest = extract_faces(table, out, (scale,), {"real": frames, "fake": frames})
    told = read_statuses(out).set_index("video").status
    seen = set(manifest.video[manifest.accepted])
    for video in told.index[(told == "ok") & ~told.index.isin(seen)]:
        reasons = sorted(set(manifest.reason[manifest.video == video]))
        told[video] = f"no face that can be judged: {', '.join(reasons)}"
    left = {**skipped_files(videos, compression), **told[~told.index.isin(seen)].to_dict()}
    for name, reason in left.items():
        print(f"not scored: {name} ({reason})")
    return [{"video": name, "reason": reason} for name, reason in left.items()]


@app.command()
def maps(
    out: Out,
    method: Annotated[str, typer.Option(help="One of xaifake.methods().")],
    scale: Scale = SCALE,
    faces: OwnFaces = None,
    split: Annotated[str, typer.Option(help="Which split of those faces.")] = "test",
    weights: OwnWeights = None,
    model: OwnModel = None,
    value_range: ValueRange = (-1, 1),
    fake: FakeClass = 1,
    target: Annotated[Target, typer.Option(help="What the map is to speak for.")] = Target.fake,
    count: Annotated[
        int | None, typer.Option(help="So many faces, evenly spread; by default all.")
    ] = None,
    as_json: AsJson = False,
):
    """Explain faces and keep the heatmaps; may be stopped and started again."""
    from xaifake.judge.maps import write_maps

    with _told(as_json) as found, _goes_on():
        detector = _detector(scale, weights, model, value_range, fake, faces, split)
        table = write_maps(out, method, detector, faces, split, str(target), count)
        print(f"{len(table):,} maps of {method} and faces.csv are in {out}")
        found |= {"folder": str(out), "method": method, "maps": len(table)}


@app.command()
def explain(
    video: Annotated[
        Path,
        typer.Argument(
            help="A video, a picture, or a folder with the pictures of one scene; with --table a "
            "data set's folder, or a table with the columns file, label and, if known, group.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page to write; by default VIDEO_report.html in this folder. With --table "
            "the answers, video by video: VIDEO_answers.csv."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Names of methods, with commas between them.", show_default=False),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames to look at, spread over the time.")] = 32,
    scale: Scale = SCALE,
    weights: OwnWeights = None,
    model: OwnModel = None,
    value_range: ValueRange = (-1, 1),
    fake: FakeClass = 1,
    faces: OwnFaces = None,
    original: Annotated[
        Path | None,
        typer.Option(
            help="The real video that this one was made from; frames may have been left out."
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--video", help="Also write the clip with the heatmap and the running score: an .mp4."
        ),
    ] = None,
    table: Annotated[
        bool,
        typer.Option(
            "--table", help="Count the answers to many labelled videos, and explain none."
        ),
    ] = False,
    as_json: AsJson = False,
):
    """Judge every face in a video and explain the answers on one page, in plain words."""
    if table:
        with _told(as_json) as found, _goes_on():
            out = _answers_name(video, out)
            detector = _detector(scale, weights, model, value_range, fake, faces)
            found |= _survey(video, out, detector, frames, faces)
        return
    from xaifake.data.media import readable
    from xaifake.video.case_report import METHODS
    from xaifake.video.overlay import check_overlay, write_overlay
    from xaifake.video.report import check_page, explain_video

    with _told(as_json) as found:
        page = check_page(out, video)
        check_overlay(overlay, video)
        names = METHODS if methods is None else [name.strip() for name in methods.split(",")]
        keep = page.with_name(f"{page.name}.unfinished")
        with _goes_on():
            detector = _detector(scale, weights, model, value_range, fake, faces)
            report = explain_video(video, detector, names, frames, faces, original, keep)
        report.write(page)
        print(report.table.to_string(index=False, float_format="{:.2f}".format))
        print(f"The page is {readable(page, longest=4096)}")
        found |= {"page": str(page), "people": _records(report.table)}
        if overlay is not None:
            write_overlay(report, overlay)
            print(f"The video is {overlay}")
            found["video"] = str(overlay)


def _answers_name(videos, out):
    out = Path(f"{videos.resolve().name}_answers.csv") if out is None else out
    if out.suffix.lower() != ".csv" or not out.parent.is_dir():
        raise UserError(f"{out}: give a name that ends in .csv, in a folder that is there.")
    return out


def _survey(videos, out, detector, frames, faces):
    """Write the answers to all videos, print how many got which, and return this."""
    from xaifake.runs import write_text
    from xaifake.video.survey import summarise_answers, survey_videos

    keep = out.with_name(f"{out.name}.unfinished")
    survey = survey_videos(videos, detector, frames, faces, keep)
    write_text(out, survey.to_csv(index=False))
    summary = summarise_answers(survey)
    print(summary.to_string(index=False, float_format="{:.3f}".format))
    print("share: of the videos that got 'moderate'; low, high: its 95 % interval over people.")
    print(f"The answers, video by video, are in {out}")
    return {"answers": str(out), "summary": _records(summary)}


@app.command()
def judge(
    out: Out,
    scale: Annotated[
        list[float], typer.Option(help="Scale of the faces and detectors; several allowed.")
    ] = SCALES,  # type: ignore[assignment]
    faces: OwnFaces = None,
    split: Annotated[str, typer.Option(help="Which split of those faces is judged.")] = "test",
    weights: OwnWeights = None,
    model: OwnModel = None,
    value_range: ValueRange = (-1, 1),
    fake: FakeClass = 1,
    cross_fit: Annotated[
        Path | None,
        typer.Option(
            help="Instead of one detector per scale: a folder of runs of 'train' named SCALE_FOLD, "
            "such as 2.0_3, each judged on the faces of the fold that it has not seen."
        ),
    ] = None,
    cues: Annotated[
        bool, typer.Option(help="Fine-tune the last detector of each scale to planted cues.")
    ] = True,
    seed: Seed = 0,
    as_json: AsJson = False,
):
    """Measure every explanation method against the truth; may be stopped and started again."""
    from xaifake.judge.runner import Protocol, judge as run, judged_settings

    with _told(as_json) as found, _goes_on():
        if len(scale) > 1 and (weights or model):
            raise UserError(
                f"One detector for the scales {', '.join(map(str, scale))}: give one --scale."
            )
        folds = None
        if cross_fit is None:
            how = weights, model, value_range, fake, faces, split
            detectors = [_detector(one, *how) for one in scale]
        else:
            detectors, folds = _cross_fitted(cross_fit, scale, weights or model)
        protocol = Protocol() if cues else Protocol(cues=())
        tables = run(out, detectors, faces, split, protocol=protocol, seed=seed, folds=folds)
        record = judged_settings(out)
        print(f"{', '.join(tables)}: in {out}, after {record['minutes']:g} minutes of computing")
        found |= {"folder": str(out), "tables": list(tables), **record}


if __name__ == "__main__":
    app()
