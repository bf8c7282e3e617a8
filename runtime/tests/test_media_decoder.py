"""Pictures that mean harm: each ends as it should, in bounded time and memory, and none holds up another."""

import io
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest
from PIL import Image

from darkroom.runtime.decoding.decoder import PictureDecoder
from darkroom.runtime.decoding.formats import sniff, webp_size
from darkroom.runtime.decoding.lane import Lane, Terms
from darkroom.runtime.decoding.testing import (
    black_png,
    hostile_uploads,
    many_comments_gif,
    many_scans_jpeg,
    many_texts_png,
    packed_text_png,
    png_header,
)
from darkroom.schemas.errors import BadMedia, Unavailable

PIXELS_MAX = 50_000_000
PATIENCE_S = 60.0
TINY = black_png(8, 6)


def make(**changes: float) -> PictureDecoder:
    return PictureDecoder(**{"pixels_max": PIXELS_MAX, "size_bytes_max": 2**25, "wait_s": PATIENCE_S, **changes})


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    decoder = make()
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def slow() -> bytes:
    """About three seconds of processor time in 200 kB."""
    return many_scans_jpeg(7000, 7000)


def look(decoder: PictureDecoder, data: bytes) -> tuple[int, int]:
    kind = sniff(data)
    assert kind
    return decoder.look(data, kind)


class Later:
    """What a call in a thread of its own comes to."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._outcome: object = None
        self._thread = threading.Thread(target=self._work, args=(call,), daemon=True)
        self._thread.start()

    def _work(self, call: Callable[[], object]) -> None:
        try:
            self._outcome = call()
        except Exception as error:
            self._outcome = error

    def get(self) -> object:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self._outcome


class Watched:
    """How far the resident memory of this process grows at most. (Its own record may be from another test.)"""

    def __enter__(self) -> "Watched":
        self._begun_bytes = self._most_bytes = self._resident_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def grown_bytes(self) -> int:
        return self._most_bytes - self._begun_bytes

    def _work(self) -> None:
        while not self._ended.wait(0.005):
            self._most_bytes = max(self._most_bytes, self._resident_bytes())

    def _resident_bytes(self) -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wait_until(true: Callable[[], object]) -> None:
    until = monotonic() + PATIENCE_S
    while not true():
        assert monotonic() < until
        threading.Event().wait(0.005)


def at_work(lane: Lane) -> int:
    """The process of a lane of one, once it is decoding."""

    def busy() -> bool:
        return bool(lane.pids()) and cpu_s(lane.pids()[0]) > 0.3  # more than its start

    wait_until(busy)
    return lane.pids()[0]


def cpu_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        pytest.param(black_png(20_000, 20_000), "picture-too-large", id="400 megapixels"),
        pytest.param(png_header(2**31 - 1, 2**31 - 1) + TINY[33:], "picture-too-large", id="2^62 pixels"),
        pytest.param(png_header(2**31 - 1, 1) + TINY[33:], "picture-too-large", id="2^31 pixels"),
        pytest.param(black_png(7000, 7000)[:-500], "picture-broken", id="cut off"),
        pytest.param(packed_text_png(b"zTXt", 50 * 2**20), "picture-broken", id="a packed text"),
        pytest.param(packed_text_png(b"iTXt", 50 * 2**20), "picture-broken", id="a packed UTF-8 text"),
        pytest.param(packed_text_png(b"iCCP", 50 * 2**20), "picture-broken", id="a packed profile"),
        pytest.param(many_texts_png(40_000), (8, 6), id="many texts"),
        pytest.param(many_comments_gif(200_000), (8, 6), id="many comments"),
        pytest.param(many_scans_jpeg(1000, 1000), (1000, 1000), id="100 scans"),
        pytest.param(many_scans_jpeg(100, 100, 101), "picture-broken", id="101 scans"),
    ],
)
def test_each_ends_as_it_should(decoder: PictureDecoder, data: bytes, outcome: object) -> None:
    try:
        found: object = look(decoder, data)
    except BadMedia as error:
        found = error.problem
    assert found == outcome


def test_all_at_once_and_the_service_itself_grows_by_little(decoder: PictureDecoder) -> None:
    pictures = dict(hostile_uploads(5_000_000))
    look(decoder, TINY)
    with Watched() as memory:
        started = [Later(lambda data=data: look(decoder, data)) for data in [*pictures.values(), TINY]]
        outcomes = dict(zip([*pictures, "tiny"], (one.get() for one in started), strict=True))
    side_px = int(5_000_000**0.5)
    at_the_limit = {name for name in outcomes if name.endswith("at the limit")}
    assert {name for name, outcome in outcomes.items() if outcome == (side_px, side_px)} == at_the_limit
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, BadMedia)} == {
        "png cut off",
        "png of 400 megapixels",
        "png header of 2^62 pixels",
        "png text of 50 MB",
    }
    assert outcomes["tiny"] == outcomes["gif of many comments"] == (8, 6)
    assert memory.grown_bytes < 30 * 2**20


def test_more_processor_time_than_a_picture_may_take() -> None:
    decoder = make(cpu_s=0.1)
    try:
        with pytest.raises(BadMedia) as caught:
            look(decoder, many_scans_jpeg(4000, 4000))
        assert caught.value.problem == "picture-too-slow"
        assert "0.1 s" in caught.value.detail
        assert look(decoder, TINY) == (8, 6)
        assert look(decoder, many_scans_jpeg(1000, 1000, 50)) == (1000, 1000), "the patient lane goes on, too"
    finally:
        decoder.close()


def test_what_takes_the_quick_lane_too_long_is_passed_on() -> None:
    decoder = make(quick_cpu_s=0.02)
    try:
        assert look(decoder, TINY) == (8, 6)
        first = decoder.quick.pids()
        assert not decoder.patient.pids()
        assert look(decoder, many_texts_png(45_000)) == (8, 6)
        assert decoder.patient.pids()
        assert look(decoder, TINY) == (8, 6)
        assert decoder.quick.pids() != first
    finally:
        decoder.close()


def test_what_is_large_by_its_header_does_not_take_the_quick_lanes_time() -> None:
    decoder = make(quick_cpu_s=5)
    try:
        assert look(decoder, black_png(1000, 1000)) == (1000, 1000)
        assert not decoder.patient.pids()
        assert look(decoder, black_png(2000, 2000)) == (2000, 2000)
        assert decoder.patient.pids()
    finally:
        decoder.close()


@pytest.mark.parametrize(
    ("sent", "outcome"), [(signal.SIGSEGV, BadMedia), (signal.SIGABRT, BadMedia), (signal.SIGKILL, Unavailable)]
)
def test_a_decoder_that_dies_costs_its_picture_only(
    slow: bytes, sent: int, outcome: type, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = make()
    try:
        one, next_one = Later(lambda: look(decoder, slow)), Later(lambda: look(decoder, black_png(3000, 1000)))
        os.kill(at_work(decoder.patient), sent)
        assert isinstance(one.get(), outcome)
        assert next_one.get() == (3000, 1000)
        assert f"signal {int(sent)}" in caplog.text
    finally:
        decoder.close()


def test_a_decoder_that_died_between_two_pictures_costs_none(decoder: PictureDecoder) -> None:
    look(decoder, TINY)
    (pid,) = decoder.quick.pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert look(decoder, TINY) == (8, 6)


def test_few_wait_and_nobody_waits_behind_the_large_ones(slow: bytes) -> None:
    decoder = make(waiting_max=1)
    try:
        first = Later(lambda: look(decoder, slow))
        at_work(decoder.patient)
        second = Later(lambda: look(decoder, slow))
        wait_until(lambda: decoder.patient.waiting == 1)
        with pytest.raises(Unavailable):
            look(decoder, slow)
        with pytest.raises(Unavailable):
            decoder.patient.look(slow, "JPEG", monotonic() + PATIENCE_S)
        assert look(decoder, TINY) == (8, 6)
        assert decoder.patient.waiting == 1, "all that while the large one is at work"
    finally:
        decoder.close()
    assert isinstance(first.get(), Unavailable)
    assert isinstance(second.get(), Unavailable)
    with pytest.raises(Unavailable):
        look(decoder, TINY)
    assert not decoder.quick.pids()
    assert not decoder.patient.pids()


def test_the_wait_is_bounded(slow: bytes) -> None:
    decoder = make(wait_s=0.5)
    try:
        first = Later(lambda: look(decoder, slow))
        at_work(decoder.patient)
        started = monotonic()
        with pytest.raises(Unavailable):
            look(decoder, slow)
        assert 0.5 <= monotonic() - started < 2.5
        assert not decoder.patient.waiting
        del first
    finally:
        decoder.close()


def test_more_memory_than_a_decoder_may_take() -> None:
    terms = Terms(pixels_max=PIXELS_MAX, cpu_s=5, wall_s=PATIENCE_S, memory_bytes_max=150 * 2**20, nice=0)
    lane = Lane(terms, 1, 1)
    try:
        with pytest.raises(BadMedia) as caught:
            lane.look(black_png(7000, 7000), "PNG", monotonic() + PATIENCE_S)
        assert caught.value.problem == "picture-too-large"
        assert lane.look(TINY, "PNG", monotonic() + PATIENCE_S) == (8, 6)
    finally:
        lane.close()


def test_a_decoder_that_does_not_start(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(Terms, "command", lambda _: ["/no/such/program"])
    decoder = make()
    with pytest.raises(Unavailable, match="does not start"):
        look(decoder, TINY)
    assert "/no/such/program" in caplog.text
    decoder.close()


def test_what_a_decoder_is_given(decoder: PictureDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_S3_SECRET_KEY", "for the parent alone")
    fresh = make()
    try:
        look(fresh, TINY)
        look(fresh, black_png(2000, 2000))
        ((quick,), (patient,)) = fresh.quick.pids(), fresh.patient.pids()
        assert os.getpriority(os.PRIO_PROCESS, patient) >= os.getpriority(os.PRIO_PROCESS, quick) + 10
        for pid in (quick, patient):
            assert b"DARKROOM" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert resource.prlimit(pid, resource.RLIMIT_AS)[0] < 1.5 * 2**30
            assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 0
            descriptors = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
            assert sum(target.startswith("socket:") for target in descriptors) == 1, descriptors
    finally:
        fresh.close()


@pytest.mark.parametrize(
    "more",
    [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}, {"lossless": True, "xmp": b"x"}],
)
def test_the_size_in_a_webp_header(more: dict[str, object]) -> None:
    content = io.BytesIO()
    Image.new("RGB", (300, 200)).save(content, "WEBP", **more)
    data = content.getvalue()
    assert webp_size(data) == (300, 200)
    assert webp_size(data[:29]) is None
