"""The pictures of one request: together they may not take for ever either."""

import pytest
from obstore.store import MemoryStore

from darkroom.command_api.pictures import given_as_files, take
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.decoding.decoder import PictureDecoder
from darkroom.runtime.decoding.testing import black_png
from darkroom.runtime.media import MediaDoor
from darkroom.schemas.errors import Unavailable


def test_what_was_decoded_in_time_is_kept_for_a_repetition():
    decoder = PictureDecoder(pixels_max=10_000, size_bytes_max=2**20, wait_s=30)
    door = MediaDoor(BlobStore(MemoryStore()), 2**20, 10_000, decoder)
    given = given_as_files([black_png(side_px, side_px) for side_px in (10, 20, 30)])
    try:
        with pytest.raises(Unavailable):
            take(door, given, 2**20, together_s=0)
        assert [door.find(item.digest) is not None for item in given] == [True, False, False]
        assert [media.width_px for media in take(door, given, 2**20)] == [10, 20, 30]
    finally:
        decoder.close()
