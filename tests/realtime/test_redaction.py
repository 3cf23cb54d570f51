import pytest

from realtime.redaction import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:hunter2@10.0.0.5:554/cam", "rtsp://***@10.0.0.5:554/cam"),
        ("rtsp://admin@10.0.0.5/cam", "rtsp://***@10.0.0.5/cam"),
        ("rtsp://admin:hunt@er@2@host/cam", "rtsp://***@host/cam"),
        ("rtsp://admin:hun/ter2@host/cam", "rtsp://***@host/cam"),
        ("rtsp://admin:hun?ter#2@host/cam", "rtsp://***@host/cam"),
        ("rtsp://admin:12/hunter2@host/cam", "rtsp://***@host/cam"),
        ("rtsp://admin:hun@ter/2@host/cam", "rtsp://***@host/cam"),
        ("rtsp://admin:hun'ter2\"@host/cam", "rtsp://***@host/cam"),
        ("http://host:80/hunter2@example/x", "http://***@example/x"),  # a name perhaps, but it could be a password
        ("HTTP://u:%68unter2@[::1]:80/x", "HTTP://***@[::1]:80/x"),
        ("cannot open 'http://u:hunter2@host/x': refused", "cannot open 'http://***@host/x': refused"),
        ("two: http://u:hunter2@a/ and http://v:hunter2@b/", "two: http://***@a/ and http://***@b/"),
        ("rtsp:/u:hunter2@host/x", "rtsp:/***@host/x"),  # as a path writes it
        ("http://host/flv?port=1935&user=me&password=hunter2&x=1", "http://host/flv?port=1935&user=me&password=***&x=1"),
        ("http://host/cgi?loginuse=me&loginpas=hunter2", "http://host/cgi?loginuse=me&loginpas=***"),
        ("http://host/a?usr=me&PWD=hunter2", "http://host/a?usr=me&PWD=***"),
        ("rtsp://host/user=me_password=hunter2_channel=1.sdp", "rtsp://host/user=me_password=***"),
        ("https://host/a.m3u8?access_token=hunter2#t", "https://host/a.m3u8?access_token=***#t"),
        ("https://host/a?X-Amz-Signature=hunter2&Key-Pair-Id=hunter2", "https://host/a?X-Amz-Signature=***&Key-Pair-Id=***"),
        ("srt://host:9000?passphrase=hunter2", "srt://host:9000?passphrase=***"),
    ],
)  # fmt: skip
def test_secrets_are_hidden_and_the_rest_is_not(text, shown):
    assert redacted(text) == shown
    assert redacted(f"lost stream {shown}: refused") == f"lost stream {shown}: refused"
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.5:554/cam",
        "http://host/user@example/x",
        "http://host:8080/x",
        "http://host/x?size=1&rate=2",
        "udp://@239.0.0.1:1234",
        "http://[fe80::1]:80/x",
        "cannot write monkey=1: disk full",
        "cannot open video in.mp4: not found",
        "camera 0: asked for 1280x720, the driver gives 640x480",
    ],
)
def test_text_without_secrets_stays_as_it_is(text):
    assert redacted(text) == text
