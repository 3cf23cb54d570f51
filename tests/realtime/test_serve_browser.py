"""The page of ``realtime serve`` in a real browser: frames, boxes, controls, fallback, tokens."""

import json
import re

import cv2
import numpy as np
import pytest
from browser import bounds_of, browser, needs_browser, new_page, picture_of  # noqa: F401 - fixtures
from fakes import read_video, wait_until
from moving_square import SIZE_WH, SquareSource
from served import TOKEN, serving

from realtime.drawing.colours import PALETTE_BGR, WHITE, ink_on
from realtime.drawing.marks import Mark
from realtime.drawing.render import tag_text
from realtime.drawing.strokes import shade_of
from realtime.drawing.styles import Style
from realtime.serve.playout_delay import URI
from realtime.structures import PARTS

pytestmark = needs_browser

FACE_BGR = np.array([115, 158, 0])
"""The colour of the class face."""
EYE_BGR = np.array([233, 180, 86])
BLOCKED = "window.RTCPeerConnection = class { constructor() { throw new Error('blocked'); } };"
UNREACHABLE = """
const Peer = RTCPeerConnection;
window.RTCPeerConnection = class extends Peer {
  constructor() { super({ iceTransportPolicy: "relay" }); }
};
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("page")) as running:
        wait_until(lambda: running.server.registry.get("square").streams.latest)
        yield running


@pytest.fixture
def still(tmp_path):
    """A server whose square stands still, so that pictures of the screen can be compared."""
    source = SquareSource()
    with serving(tmp_path, {"square": source}) as running:
        wait_until(lambda: running.server.registry.get("square").streams.latest)
        source.held = True
        yield running


def tile(page, name="square"):
    return page.locator(f".tile[data-camera='{name}']")


def wait_for_frame(page, name="square"):
    page.wait_for_selector(f".tile[data-camera='{name}'][data-frame][data-boxes]")


def frame_of(page, name="square"):
    return int(tile(page, name).get_attribute("data-frame"))


def stage(page, name="square"):
    return tile(page, name).locator(".stage")


def colour_mask(image, colour):
    return np.abs(image.astype(int) - colour).max(axis=2) < 40


def white_bounds(image):
    mask = image.min(axis=2) > 200
    mask[:20] = mask[-20:] = False  # the page shows at the rounded corners
    return bounds_of(mask)


def eventually(page, condition):
    """Wait until something on the page is so."""
    for _ in range(200):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never was")


@pytest.mark.parametrize("transport", ["webrtc", "jpeg"])
def test_frames_move_and_boxes_lie_where_the_square_is(still, new_page, transport):  # noqa: F811
    page = new_page(script=f"localStorage.setItem('realtime', JSON.stringify({{transport: '{transport}'}}))")
    page.goto(still.url)
    wait_for_frame(page)
    assert tile(page).get_attribute("data-way") == transport
    first = frame_of(page)
    eventually(page, lambda: frame_of(page) > first + 5)
    page.wait_for_timeout(300)
    image = picture_of(stage(page))
    square = white_bounds(image)
    box = bounds_of(colour_mask(image, FACE_BGR)[square[1] :])  # without the label above it
    scale = image.shape[1] / SIZE_WH[0]
    assert square[2] - square[0] == pytest.approx(60 * scale, abs=4 * scale)
    assert box[0] == pytest.approx(square[0], abs=2 * scale)
    assert box[2] == pytest.approx(square[2], abs=2 * scale)
    assert box[3] + square[1] == pytest.approx(square[3], abs=2 * scale)


WATCH = """
(seconds) => new Promise((resolve) => {
  const root = document.querySelector(".tile");
  const boxes = root.querySelector(".boxes"), picture = root.querySelector(".picture");
  const canvas = document.createElement("canvas");
  const seen = [];
  const end = performance.now() + 1000 * seconds;
  const look = () => {
    canvas.width = 320; canvas.height = 240;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0, 320, 240);
    const row = context.getImageData(0, 84, 320, 1).data;
    let left = -1;
    for (let x = 0; x < 320 && left < 0; x += 1) if (row[4 * x] > 160) left = x;
    const ratio = boxes.width / 320;
    const line = boxes.getContext("2d").getImageData(0, Math.round(84 * ratio), boxes.width, 1).data;
    let first = -1;
    for (let x = 0; x < boxes.width && first < 0; x += 1) if (line[4 * x + 3] > 100) first = x;
    seen.push([left, first < 0 ? null : first / ratio]);
    const places = new Set(seen.map(([place, box]) => (place >= 0 && box !== null ? place : -1)));
    const enough = places.size > 12 && seen.length > 40;
    if (performance.now() < end && !enough) requestAnimationFrame(() => setTimeout(look, 0)); else resolve(seen);
  };
  look();
})
"""


@pytest.mark.parametrize("transport", ["webrtc", "jpeg"])
def test_a_box_is_never_more_than_one_frame_away_from_its_square(served, new_page, transport):  # noqa: F811
    page = new_page(script=f"localStorage.setItem('realtime', JSON.stringify({{transport: '{transport}'}}))")
    page.goto(served.url)
    wait_for_frame(page)
    page.wait_for_timeout(1000)
    seen = page.evaluate(WATCH, 30)
    pairs = [(left, box) for left, box in seen if left > 4 and box is not None]  # else its left line is not seen
    assert len(pairs) > 30
    assert len({left for left, _ in pairs}) > 10
    distances = np.array([abs(left - box) for left, box in pairs])
    assert np.median(distances) <= 2
    assert distances.max() <= 4  # the square moves by 8 px a frame


LATE = """
const create = RTCPeerConnection.prototype.createDataChannel;
RTCPeerConnection.prototype.createDataChannel = function (...options) {
  const channel = create.apply(this, options), listen = channel.addEventListener.bind(channel);
  channel.addEventListener = (kind, react) => listen(
    kind, kind === "message" ? (event) => setTimeout(() => react(event), DELAY_MS) : react,
  );
  return channel;
};
localStorage.setItem("realtime", JSON.stringify({transport: "webrtc"}));
"""


SCRIPTED = """
async () => {
  const { WebRtcFeed } = await import("/page/webrtc_feed.js");
  const video = Object.assign(document.createElement("canvas"), { width: 4, height: 4, videoWidth: 4, videoHeight: 4 });
  const shows = (image) => image.getContext("2d").getImageData(0, 0, 1, 1).data[0];
  const log = [];
  const onFrame = (image, message) => log.push([shows(image), message && message.timestamp]);
  const feed = new WebRtcFeed("square", video, { onFrame, onFailed: () => {} });
  const boxes = (...timestamps) => timestamps.forEach((timestamp) => feed.receive({ timestamp }));
  const frames = (...timestamps) => timestamps.forEach((timestamp) => {
    const context = video.getContext("2d");
    context.fillStyle = `rgb(${timestamp} 0 0)`;
    context.fillRect(0, 0, 4, 4);
    feed.present((timestamp + 2 ** 32 - 9) % 2 ** 32);  // the count of RTP begins anywhere, and begins again
  });
  const steps = [];
  const step = (name) => steps.push([name, log.splice(0)]);
  feed.receive({ origin: 2 ** 32 - 9 });
  boxes(1); frames(1); step("boxes first");
  frames(2); step("a frame waits");
  boxes(2); step("and is shown with its boxes");
  frames(3, 4); boxes(4, 3); step("an older one is not shown after it");
  frames(5, 6); boxes(5); step("each is shown as it was");
  boxes(6); step("the next too");
  frames(7, 8, 9); step("three wait");
  frames(10); step("no more");
  frames(11); step("no boxes come");
  boxes(12); frames(12, 13); step("they come again");
  while (!log.length) await new Promise((resolve) => setTimeout(resolve, 5));
  step("it has waited for too long");
  feed.close();
  return steps;
}
"""


def test_frames_wait_for_their_boxes_but_not_for_long(served, new_page):  # noqa: F811
    page = new_page()
    page.goto(served.url)
    steps = page.evaluate(SCRIPTED)
    assert steps == [
        ["boxes first", [[1, 1]]],
        ["a frame waits", []],
        ["and is shown with its boxes", [[2, 2]]],
        ["an older one is not shown after it", [[4, 4]]],
        ["each is shown as it was", [[5, 5]]],
        ["the next too", [[6, 6]]],
        ["three wait", []],
        ["no more", [[10, None]]],
        ["no boxes come", [[11, None]]],
        ["they come again", [[12, 12]]],
        ["it has waited for too long", [[13, None]]],
    ]


def test_frames_do_not_wait_for_boxes_that_never_come(served, new_page):  # noqa: F811
    page = new_page(script=LATE.replace("DELAY_MS", "1e9"))
    page.goto(served.url)
    seen = set()
    eventually(page, lambda: seen.add(picture_of(stage(page)).tobytes()) or len(seen) > 5)


def test_the_browser_is_asked_to_show_frames_at_once(served, new_page):  # noqa: F811
    page = new_page(script=LATE.replace("DELAY_MS", "0"))
    with page.expect_response("**/webrtc") as waiting:
        page.goto(served.url)
    wait_for_frame(page)
    offer, answer = (json.loads(text)["sdp"] for text in (waiting.value.request.post_data, waiting.value.text()))
    agreed = re.search(rf"^a=extmap:\d+ {re.escape(URI)}", offer, re.MULTILINE)[0]
    assert agreed in answer


def test_the_slider_moves_the_threshold_of_this_page(still, new_page):  # noqa: F811
    page = new_page()
    page.goto(still.url)
    wait_for_frame(page)
    assert tile(page).get_attribute("data-boxes") == "1"
    page.locator("#threshold").fill("0.2")
    eventually(page, lambda: tile(page).get_attribute("data-boxes") == "2")
    page.wait_for_timeout(200)
    assert colour_mask(picture_of(stage(page)), EYE_BGR).sum() > 100
    page.locator("#threshold").fill("0.95")
    eventually(page, lambda: tile(page).get_attribute("data-boxes") == "0")
    assert page.locator("#threshold-value").inner_text() == "0.95"
    page.reload()  # what was chosen is kept
    wait_for_frame(page)
    assert page.locator("#threshold-value").inner_text() == "0.95"
    page.keyboard.press("-")
    eventually(page, lambda: tile(page).get_attribute("data-boxes") == "1")


def test_classes_labels_and_mirror_act_on_the_boxes(still, new_page):  # noqa: F811
    page = new_page()
    page.goto(still.url)
    wait_for_frame(page)
    page.wait_for_timeout(300)
    with_label = colour_mask(picture_of(stage(page)), FACE_BGR).sum()
    page.keyboard.press("l")  # of features too
    page.keyboard.press("l")
    eventually(page, lambda: colour_mask(picture_of(stage(page)), FACE_BGR).sum() < 0.8 * with_label)
    before = white_bounds(picture_of(stage(page)))
    page.keyboard.press("m")
    image = picture_of(stage(page))
    square = white_bounds(image)
    assert square[0] == pytest.approx(image.shape[1] - before[2], abs=4)
    box = bounds_of(colour_mask(image, FACE_BGR))
    assert (box[0], box[2]) == pytest.approx((square[0], square[2]), abs=8)
    page.locator("#classes button", has_text="face").click()
    eventually(page, lambda: tile(page).get_attribute("data-boxes") == "0")
    assert page.locator("#classes button", has_text="face").get_attribute("aria-pressed") == "false"


def test_tags_say_what_those_of_the_window_say(served, new_page):  # noqa: F811
    page, font = new_page(), 20
    page.goto(served.url)
    styles = {full: Style(labels="full" if full else "face") for full in (False, True)}
    texts = {}
    for side in (1, 30, 60, 120, 400):
        for name, part, face_id in (("face", 0, 3), ("left_eye", 1, 3), ("apple", -1, 0), ("face", -1, 0)):
            for full, style in styles.items():
                mark = Mark((0, 0, side, side), name.replace("_", " "), 0.984, WHITE, face_id, part, None)
                shown = {
                    "name": mark.name, "face": face_id, "part": PARTS[part] if part >= 0 else "", "score": mark.score,
                    "side": side, "isFeature": mark.is_feature,
                }  # fmt: skip
                said = page.evaluate(
                    "async ([...all]) => (await import('/page/tags.js')).textOf(...all)", [shown, font, full]
                )
                texts[side, name, part, full] = (said, tag_text(mark, style, font))
    assert {key: said for key, (said, _) in texts.items()} == {key: expected for key, (_, expected) in texts.items()}
    assert texts[400, "face", 0, False][0] == "face 3 · 98%"


def test_colours_and_inks_are_those_of_the_window(served, new_page):  # noqa: F811
    page = new_page()
    page.goto(served.url)
    seen = page.evaluate(
        """async (count) => {
             const { colourOf, inkOn, shadeOf } = await import("/page/colours.js");
             return [...Array(count).keys()].map(colourOf).map((colour) => [colour, inkOn(colour), shadeOf(colour)]);
           }""",
        len(PALETTE_BGR),
    )
    for (colour, ink, shade), bgr in zip(seen, PALETTE_BGR, strict=True):
        assert colour == "#{:02x}{:02x}{:02x}".format(*bgr[::-1])
        assert ink == ("#000" if ink_on(bgr) == (0, 0, 0) else "#fff")
        assert [int(value) for value in re.findall(r"\d+", shade)] == pytest.approx(shade_of(bgr)[::-1], abs=1)


@pytest.mark.parametrize("labels", ["face", "full"])
def test_neither_lines_nor_tags_cover_eyes_and_mouth(served, new_page, labels):  # noqa: F811
    """As the window draws them; at a size at which each feature has a tag."""
    page = new_page()
    page.goto(served.url)
    parts = {
        "face": (200, 60, 440, 380), "left_eyebrow": (330, 120, 420, 150), "right_eyebrow": (220, 120, 310, 150),
        "left_eye": (335, 140, 415, 176), "right_eye": (225, 140, 305, 176), "nose": (280, 150, 360, 260),
        "mouth": (260, 270, 380, 330),
    }  # fmt: skip
    detections = [
        {"label": part.split("_")[-1], "part": part, "face": 1, "score": 0.9, "box": box} for part, box in parts.items()
    ]
    pixels = page.evaluate(
        """async ([detections, labels]) => {
             const { drawBoxes } = await import("/page/overlay.js");
             const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
             const context = canvas.getContext("2d");
             drawBoxes(context, { detections }, detections, {
               scale: 1, width: 640, mirror: false, labels, classNames: ["face", "eye", "eyebrow", "nose", "mouth"] });
             return Array.from(context.getImageData(0, 0, 640, 480).data.filter((_, index) => index % 4 === 3));
           }""",
        [detections, labels],
    )
    opacity = np.array(pixels, np.uint8).reshape(480, 640)
    for part in ("left_eye", "right_eye", "mouth"):
        x1, y1, x2, y2 = parts[part]
        assert not opacity[y1:y2, x1:x2].any(), part
    x1, y1, x2, y2 = parts["face"]
    assert not opacity[(y1 + y2) // 2, x1 - 12 : x1].any() or labels == "full"  # corners, not a box
    assert opacity[y1 + 10, x1 - 2 : x1].all()


def test_a_snapshot_downloads_the_frame(served, new_page, tmp_path):  # noqa: F811
    page = new_page(accept_downloads=True)
    page.goto(served.url)
    wait_for_frame(page)
    with page.expect_download() as waiting:
        tile(page).get_by_role("button", name="Snapshot").click()
    download = waiting.value
    assert re.fullmatch(r"square-\d{8}-\d{6}\.jpg", download.suggested_filename)
    download.save_as(tmp_path / "snapshot.jpg")
    image = cv2.imread(str(tmp_path / "snapshot.jpg"))
    assert image.shape == (SIZE_WH[1], SIZE_WH[0], 3)


@pytest.mark.slow
def test_a_recording_downloads_a_video_with_boxes(served, new_page, tmp_path):  # noqa: F811
    page = new_page(accept_downloads=True)
    page.goto(served.url)
    wait_for_frame(page)
    page.keyboard.press("r")
    eventually(page, lambda: tile(page).get_by_role("button", name="Stop recording").count() == 1)
    page.wait_for_timeout(2500)
    with page.expect_download() as waiting:
        page.keyboard.press("r")
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    frames = read_video(path)
    assert len(frames) > 10
    assert frames[-1][1].shape == (SIZE_WH[1], SIZE_WH[0], 3)
    last = frames[len(frames) // 2][1].astype(int)
    assert (last[..., 1] - last[..., 0] > 60).sum() > 50  # green lines


@pytest.mark.parametrize("script", [BLOCKED, pytest.param(UNREACHABLE, marks=pytest.mark.slow)])
def test_jpeg_takes_over_where_webrtc_fails(served, new_page, script, monkeypatch):  # noqa: F811
    monkeypatch.setattr("realtime.serve.webrtc.CONNECT_S", 7.0)
    page = new_page(script=script)
    page.goto(served.url)
    page.wait_for_selector(".tile[data-way='jpeg'][data-frame]")
    first = frame_of(page)
    eventually(page, lambda: frame_of(page) > first + 5)
    page.close()
    wait_until(lambda: not any(served.server.registry.get("square").streams.viewers().values()))


@pytest.mark.slow
def test_reload_and_a_second_tab_work(served, new_page):  # noqa: F811
    page, other = new_page(), new_page()
    for one in (page, other):
        one.goto(served.url)
        wait_for_frame(one)
    page.reload()
    wait_for_frame(page)
    first = frame_of(other)
    eventually(other, lambda: frame_of(other) > first + 5)
    viewers = served.server.registry.get("square").streams.viewers
    wait_until(lambda: sum(viewers().values()) == 2)
    other.close()
    wait_until(lambda: sum(viewers().values()) == 1)


@pytest.mark.slow
def test_the_browsers_own_camera_is_a_source(served, new_page):  # noqa: F811
    page = new_page(permissions=["camera"])
    page.goto(served.url)
    wait_for_frame(page)
    page.get_by_role("button", name="Use my camera").click()
    guest = ".tile[data-camera^='browser-']"
    page.wait_for_selector(f"{guest}[data-frame]")
    name = page.locator(guest).get_attribute("data-camera")
    assert served.ask(f"/cameras/{name}").json["size_wh"][0] >= 320
    first = frame_of(page, name)
    eventually(page, lambda: frame_of(page, name) > first + 5)
    page.locator(guest).get_by_role("button", name="Stop").click()
    page.wait_for_selector(guest, state="detached")
    wait_until(lambda: served.engine.camera(name) is None)


@pytest.mark.slow
def test_cameras_can_be_made_large_by_a_click_and_by_keys(tmp_path, new_page):  # noqa: F811
    sources = {name: SquareSource(ground=30 + 40 * number) for number, name in enumerate(("front", "desk", "door"))}
    with serving(tmp_path, sources) as several:
        page = new_page()
        page.goto(several.url)
        for name in sources:
            wait_for_frame(page, name)
        small = tile(page, "desk").bounding_box()["width"]
        page.keyboard.press("2")
        eventually(page, lambda: not tile(page, "front").is_visible())
        assert tile(page, "desk").bounding_box()["width"] > 1.5 * small
        page.keyboard.press("0")
        eventually(page, lambda: tile(page, "front").is_visible())
        stage(page, "door").click()
        eventually(page, lambda: not tile(page, "desk").is_visible())
        page.keyboard.press("Escape")
        sources["front"].silent.set()
        eventually(page, lambda: "no frame for" in tile(page, "front").locator(".notice").inner_text())
        first = frame_of(page, "desk")
        eventually(page, lambda: frame_of(page, "desk") > first + 5)


def test_a_wrong_token_sees_nothing_and_a_link_opens_the_page_once(tmp_path, new_page):  # noqa: F811
    with serving(tmp_path, token=TOKEN) as closed:
        page = new_page()
        answer = page.goto(closed.url)
        assert answer.status == 401
        assert page.locator(".tile").count() == 0
        page.locator("input[name=token]").fill("wrong")
        page.locator("button").click()
        page.wait_for_url("**/login")
        assert page.locator(".tile").count() == 0
        page.locator("input[name=token]").fill(TOKEN)
        page.locator("button").click()
        wait_for_frame(page)
        page = new_page()
        link = closed.url + closed.server.sessions.new_link()
        page.goto(link)
        wait_for_frame(page)
        page.get_by_role("button", name="Add a device").click()
        page.wait_for_selector("#banner:not([hidden])")
        second = re.search(r"http\S+", page.locator("#banner").inner_text())[0]
        other = new_page()
        other.goto(link)  # used already
        assert other.locator(".tile").count() == 0
        other.goto(second)
        wait_for_frame(other)


def test_the_page_asks_only_its_own_server(served, new_page):  # noqa: F811
    page, addresses = new_page(), []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(served.url)
    wait_for_frame(page)
    assert addresses
    assert all(address.startswith((served.url, "blob:", "data:")) for address in addresses)


@pytest.mark.slow
def test_the_description_of_the_api_can_be_read(served, new_page):  # noqa: F811
    page = new_page()
    page.goto(f"{served.url}/docs")
    page.wait_for_selector("section >> text=POST /detect")
    document = json.loads(served.ask("/openapi.json").body)
    assert page.locator("section").count() == sum(map(len, document["paths"].values()))


@pytest.mark.slow
def test_the_page_says_that_the_server_is_gone_and_comes_back_to_life(tmp_path, new_page):  # noqa: F811
    page = new_page()
    with serving(tmp_path) as first:
        port = first.server.port
        page.goto(first.url)
        wait_for_frame(page)
    page.wait_for_selector("#banner:not([hidden]) >> text=The server does not answer")
    with serving(tmp_path, port=port):
        page.wait_for_selector("#banner", state="hidden")
        frame = frame_of(page)
        eventually(page, lambda: frame_of(page) != frame)


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [{"width": 360, "height": 740}, {"width": 1400, "height": 900}])
def test_nothing_sticks_out_of_the_screen(served, new_page, viewport):  # noqa: F811
    page = new_page(viewport=viewport)
    page.goto(served.url)
    wait_for_frame(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
