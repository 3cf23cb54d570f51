"""Command line ``python -m train prepare FORMAT``."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from train.prepare.celebamask import read_celebamask
from train.prepare.coco import read_coco
from train.prepare.photo import Source, read_negatives
from train.prepare.pts import read_pts
from train.prepare.voc import read_voc
from train.prepare.wflw import read_wflw
from train.prepare.write import WriteOptions, write_data_set

app = typer.Typer(
    no_args_is_help=True,
    help="Turn published or home-made labels into a data set in YOLO format, or add them to one. Landmarks and masks "
    "become boxes of face, eye, eyebrow, nose and mouth.",
)


class IntoSplit(StrEnum):
    """Splits that ``--split`` fills."""

    TRAIN = "train"
    VAL = "val"


Out = Annotated[Path, typer.Option(help="Folder of the data set; one with the same classes is added to.")]
Prefix = Annotated[str, typer.Option(help="Begins every file name; give each source its own.")]
ValShare = Annotated[float, typer.Option(min=0, max=1, help="Share of the photos for val; copies stay together.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the draw for val.")]
InSplit = Annotated[IntoSplit | None, typer.Option("--split", help="Put all photos in this split, without a draw.")]
Negatives = Annotated[Path | None, typer.Option(help="Folder of photos without any object, to be added.")]
MaxSide = Annotated[int | None, typer.Option("--max-side", min=16, help="Longest side of a stored photo in pixels.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out the photos that have a problem, and go on.")]
CropMargin = Annotated[
    float,
    typer.Option(
        min=0,
        help="Cut each photo around its labelled faces with this margin, in face sides: others often have no labels.",
    ),
]
NoCrop = Annotated[bool, typer.Option("--no-crop", help="Keep photos whole: all their faces are labelled.")]
Images = Annotated[Path, typer.Option(help="Folder below which the photos stand.")]


@app.command()
def pts(
    folder: Annotated[Path, typer.Argument(help="Folder of photos with their .pts files, at any depth.")],
    out: Out,
    prefix: Prefix = "pts",
    val_share: ValShare = 0.1,
    seed: Seed = 0,
    split: InSplit = None,
    negatives: Negatives = None,
    crop_margin: CropMargin = 0.5,
    no_crop: NoCrop = False,
    max_side_px: MaxSide = None,
    skip_bad: SkipBad = False,
) -> None:
    """68-point .pts files beside their photos: 300-W, Helen, AFW, LFPW."""
    margin = None if no_crop else crop_margin
    options = WriteOptions(out, prefix, val_share, seed, split, margin, max_side_px, skip_bad)
    _prepare(lambda: read_pts(folder), options, negatives)


@app.command()
def wflw(
    file: Annotated[Path, typer.Argument(metavar="LIST.txt", help="WFLW's list_98pt_rect_attr_….txt.")],
    images: Images,
    out: Out,
    prefix: Prefix = "wflw",
    val_share: ValShare = 0.1,
    seed: Seed = 0,
    split: InSplit = None,
    negatives: Negatives = None,
    crop_margin: CropMargin = 0.5,
    no_crop: NoCrop = False,
    max_side_px: MaxSide = None,
    skip_bad: SkipBad = False,
) -> None:
    """WFLW's lists of 98 points."""
    margin = None if no_crop else crop_margin
    options = WriteOptions(out, prefix, val_share, seed, split, margin, max_side_px, skip_bad)
    _prepare(lambda: read_wflw(file, images), options, negatives)


@app.command()
def celebamask(
    folder: Annotated[Path, typer.Argument(help="Folder of CelebA-HQ-img and CelebAMask-HQ-mask-anno.")],
    out: Out,
    prefix: Prefix = "celebamask",
    val_share: ValShare = 0.1,
    seed: Seed = 0,
    split: InSplit = None,
    negatives: Negatives = None,
    max_side_px: MaxSide = None,
    skip_bad: SkipBad = False,
) -> None:
    """CelebAMask-HQ's masks of the parts of a face."""
    options = WriteOptions(out, prefix, val_share, seed, split, None, max_side_px, skip_bad)
    _prepare(lambda: read_celebamask(folder), options, negatives)


@app.command()
def coco(
    file: Annotated[Path, typer.Argument(metavar="INSTANCES.json", help="Instances in COCO's format, any classes.")],
    out: Out,
    images: Annotated[Path | None, typer.Option(help="Folder of the photos; by default that of the JSON file.")] = None,
    prefix: Prefix = "coco",
    val_share: ValShare = 0.1,
    seed: Seed = 0,
    split: InSplit = None,
    negatives: Negatives = None,
    max_side_px: MaxSide = None,
    skip_bad: SkipBad = False,
) -> None:
    """COCO instances."""
    options = WriteOptions(out, prefix, val_share, seed, split, None, max_side_px, skip_bad)
    _prepare(lambda: read_coco(file, images or file.parent), options, negatives)


@app.command()
def voc(
    folder: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="Folder of XML files, at any depth.")],
    out: Out,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos; by default JPEGImages beside ANNOTATIONS, else that.")
    ] = None,
    prefix: Prefix = "voc",
    val_share: ValShare = 0.1,
    seed: Seed = 0,
    split: InSplit = None,
    negatives: Negatives = None,
    max_side_px: MaxSide = None,
    skip_bad: SkipBad = False,
) -> None:
    """Pascal VOC's XML files."""
    beside = folder.resolve().parent / "JPEGImages"
    photos = images or (beside if beside.is_dir() else folder)
    options = WriteOptions(out, prefix, val_share, seed, split, None, max_side_px, skip_bad)
    _prepare(lambda: read_voc(folder, photos), options, negatives)


def _prepare(read: Callable[[], Source], options: WriteOptions, negatives: Path | None) -> None:
    def with_negatives() -> Source:
        without = read_negatives(negatives) if negatives else []
        source = read()
        source.photos += without
        return source

    typer.echo(write_data_set(with_negatives, options, warn=lambda line: typer.echo(f"warning: {line}", err=True)))
