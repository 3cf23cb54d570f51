"""Command line ``realtime train prepare FORMAT``."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from train.cli_options import option, takes_options
from train.prepare.celebamask import read_celebamask
from train.prepare.coco import read_coco
from train.prepare.cvat import read_cvat
from train.prepare.label_studio import read_label_studio
from train.prepare.photo import Source, read_negatives
from train.prepare.pts import read_pts
from train.prepare.splits import TRAIN, VAL
from train.prepare.stage import WriteOptions
from train.prepare.voc import read_voc
from train.prepare.wflw import read_wflw
from train.prepare.write import write_data_set

app = typer.Typer(
    no_args_is_help=True,
    help="Turn published or home-made labels into a data set in YOLO format, or add them to one. Landmarks and masks "
    "become boxes of face, eye, eyebrow, nose and mouth.",
)


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """Options of every format; ``prefix`` has another default for each."""

    out: Path = option(help="Folder of the data set; one with the same classes is added to.")
    prefix: str = option(help="Begins every file name; give each source its own.")
    val_share: float = option(0.1, "Share of the photos for val; copies stay together.", min=0, max=1)
    seed: int = option(0, "Seed of the draw for val.", min=0)
    split: str | None = option(
        None, "Put all photos in this split, without a draw.", flag="--split", choices=(TRAIN, VAL)
    )
    negatives: Path | None = option(None, "Folder of photos without any object, to be added.")
    max_side: int | None = option(None, "Longest side of a stored photo in pixels.", min=16)
    skip_bad: bool = option(
        default=False, help="Leave out the photos that have a problem, and go on.", flag="--skip-bad"
    )

    def write_options(self) -> WriteOptions:
        """How the source is written: photos stay whole."""
        return WriteOptions(
            self.out,
            self.prefix,
            self.val_share,
            self.seed,
            self.split,
            max_side_px=self.max_side,
            skip_bad=self.skip_bad,
        )


@dataclass(frozen=True, slots=True)
class CropOptions(SharedOptions):
    """Those of formats in which faces may be visible but unlabelled."""

    crop_margin: float = option(
        0.5,
        "Crop each photo around its labelled faces with this margin, in face sides: others often have no labels.",
        min=0,
    )
    no_crop: bool = option(default=False, help="Keep photos whole: all their faces are labelled.", flag="--no-crop")

    def write_options(self) -> WriteOptions:
        """How the source is written: cropped, unless that is turned off."""
        margin = None if self.no_crop else self.crop_margin
        return replace(SharedOptions.write_options(self), crop_margin=margin)


@app.command()
@takes_options(CropOptions, prefix="pts")
def pts(
    folder: Annotated[Path, typer.Argument(help="Folder of photos with their .pts files, at any depth.")],
    options: CropOptions,
) -> None:
    """68-point .pts files beside their photos: 300-W, Helen, AFW, LFPW."""
    _prepare(lambda: read_pts(folder), options)


@app.command()
@takes_options(CropOptions, prefix="wflw")
def wflw(
    file: Annotated[Path, typer.Argument(metavar="LIST.txt", help="WFLW's list_98pt_rect_attr_….txt.")],
    images: Annotated[Path, typer.Option(help="Folder that holds the photos, at any depth.")],
    options: CropOptions,
) -> None:
    """WFLW's lists of 98 points."""
    _prepare(lambda: read_wflw(file, images), options)


@app.command()
@takes_options(SharedOptions, prefix="celebamask")
def celebamask(
    folder: Annotated[Path, typer.Argument(help="Folder of CelebA-HQ-img and CelebAMask-HQ-mask-anno.")],
    options: SharedOptions,
) -> None:
    """CelebAMask-HQ's masks of the parts of a face."""
    _prepare(lambda: read_celebamask(folder), options)


@app.command()
@takes_options(SharedOptions, prefix="coco")
def coco(
    file: Annotated[Path, typer.Argument(metavar="INSTANCES.json", help="Instances in COCO's format, any classes.")],
    *,
    images: Annotated[Path | None, typer.Option(help="Folder of the photos; by default that of the JSON file.")] = None,
    options: SharedOptions,
) -> None:
    """COCO instances."""
    _prepare(lambda: read_coco(file, images or file.parent), options)


@app.command()
@takes_options(SharedOptions, prefix="voc")
def voc(
    folder: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="Folder of XML files, at any depth.")],
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos; by default JPEGImages beside ANNOTATIONS, else that.")
    ] = None,
    options: SharedOptions,
) -> None:
    """Pascal VOC's XML files."""
    beside = folder.resolve().parent / "JPEGImages"
    photos = images or (beside if beside.is_dir() else folder)
    _prepare(lambda: read_voc(folder, photos), options)


@app.command()
@takes_options(SharedOptions, prefix="cvat")
def cvat(
    file: Annotated[Path, typer.Argument(metavar="ANNOTATIONS.xml", help="A task exported as CVAT for images 1.1.")],
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos; by default images beside the XML file, else its folder.")
    ] = None,
    options: SharedOptions,
) -> None:
    """CVAT's XML of images."""
    _prepare(lambda: read_cvat(file, images or _images_beside(file)), options)


@app.command("label-studio")
@takes_options(SharedOptions, prefix="label-studio")
def label_studio(
    file: Annotated[Path, typer.Argument(metavar="EXPORT.json", help="A project exported as JSON.")],
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos; by default images beside the JSON file, else its folder.")
    ] = None,
    interface: Annotated[
        Path | None,
        typer.Option(help="The labelling interface, such as labels.xml of realtime label: classes keep its order."),
    ] = None,
    options: SharedOptions,
) -> None:
    """Label Studio's JSON."""
    _prepare(lambda: read_label_studio(file, images or _images_beside(file), interface), options)


def _images_beside(file: Path) -> Path:
    beside = file.parent / "images"
    return beside if beside.is_dir() else file.parent


def _prepare(read: Callable[[], Source], options: SharedOptions) -> None:
    def with_negatives() -> Source:
        negatives = read_negatives(options.negatives) if options.negatives else []
        source = read()
        source.photos += negatives
        return source

    def warn(line: str) -> None:
        typer.echo(f"warning: {line}", err=True)

    typer.echo(write_data_set(with_negatives, options.write_options(), warn))
