"""The scripts that make the pictures of README and docs."""

from pathlib import Path

import pytest
from browser import needs_browser
from PIL import Image

ROOT = Path(__file__).parents[1]


@needs_browser
@pytest.mark.slow
def test_the_picture_of_the_page_can_be_made(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "samples")
    import serve_page

    serve_page.main(tmp_path / "page.webp")
    with Image.open(tmp_path / "page.webp") as picture, Image.open(serve_page.PICTURE) as shown:
        assert picture.size == shown.size
        assert len(picture.getcolors(2**24) or []) > 1000
