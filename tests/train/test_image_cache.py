import multiprocessing
import os

import numpy as np
import pytest
import torch
from tiny_data import noise_image, write_image

from train.data import image_cache, memory
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.data.image_cache import Cache, ImageCache, image_reader
from train.data.images import read_image
from train.distributed import World
from train.errors import TrainError
from train.loop.examples import RunExamples
from train.loop.loading import load_batches
from train.loop.options import FitOptions

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")


@pytest.fixture
def paths(tmp_path):
    return [write_image(tmp_path / f"{i}.png", noise_image(40 + 8 * i, 64, i)) for i in range(3)]


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the images that are decoded from now on."""
    found = []

    def reading(path):
        found.append(path)
        return read_image(path)

    monkeypatch.setattr(image_cache, "read_image", reading)
    return found


def test_each_image_is_decoded_once_and_read_only(paths, decoded):
    cache = ImageCache([*paths, paths[0]], 2**20)  # lists may name an image twice

    for _ in range(2):
        for path in paths:
            image = cache.read(path)
            np.testing.assert_array_equal(image, read_image(path))
            assert not image.flags.writeable

    assert decoded == paths
    assert cache.held_bytes() >= sum(read_image(path).nbytes for path in paths)


def test_images_without_room_and_other_files_are_read_each_time(paths, decoded):
    cache = ImageCache(paths[:2], read_image(paths[0]).nbytes + 100)

    for path in (*paths, *paths):
        np.testing.assert_array_equal(cache.read(path), read_image(path))

    assert decoded == [*paths, *paths[1:]]


@needs_fork
def test_what_a_forked_process_has_decoded_is_there_for_all(paths, decoded):
    cache = ImageCache(paths, 2**20)
    child = multiprocessing.get_context("fork").Process(target=cache.read, args=(paths[1],))
    child.start()
    child.join(60)
    assert child.exitcode == 0

    np.testing.assert_array_equal(cache.read(paths[1]), read_image(paths[1]))
    assert decoded == []


@needs_fork
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_from_memory(tiny_yaml, workers):
    images = load_split(load_data_config(tiny_yaml), "train")
    options = FitOptions(arch="nano", weights="none", size=64, batch_size=2, epochs=2, mosaic=0.5)
    read = image_reader([image.path for image in images], Cache.RAM, workers=workers, processes=1)
    assert read != read_image

    batches = [
        load_batches(examples, 0, 0, world=World(), workers=workers, pin_memory=False)
        for examples in (RunExamples(images, options, read), RunExamples(images, options))
    ]

    for ours, expected in zip(*batches, strict=True):
        assert torch.equal(ours.images, expected.images)
        assert torch.equal(ours.targets.boxes, expected.targets.boxes)


def test_auto_takes_half_of_what_is_left_and_ram_nine_tenths(paths, monkeypatch):
    taken = []
    monkeypatch.setattr(image_cache, "available_bytes", lambda: 2**22)
    monkeypatch.setattr(image_cache.mmap, "mmap", lambda _, size: taken.append(size) or bytearray(size))

    for kept, processes in ((Cache.AUTO, 1), (Cache.AUTO, 2), (Cache.RAM, 1)):
        image_reader(paths, kept, workers=0, processes=processes)

    assert taken[::2] == [2**21, 2**20, int(0.9 * 2**22) // 4096 * 4096]


@pytest.mark.parametrize("kept", [Cache.AUTO, Cache.RAM])
@pytest.mark.parametrize("lacking", ["fork", "knowledge", "memory"])
def test_without_means_auto_reads_files_and_ram_says_why(paths, monkeypatch, kept, lacking):
    def no_memory(*_):
        raise OSError(12, "Cannot allocate memory")

    if lacking == "fork":
        monkeypatch.setattr(image_cache, "can_share", lambda: False)
    elif lacking == "knowledge":
        monkeypatch.setattr(image_cache, "available_bytes", lambda: None)
    else:
        monkeypatch.setattr(image_cache.mmap, "mmap", no_memory)

    if kept is Cache.AUTO:
        assert image_reader(paths, kept, workers=2, processes=1) == image_cache.read_image
    else:
        with pytest.raises(TrainError, match=r"--cache ram: .*"):
            image_reader(paths, kept, workers=2, processes=1)


def test_off_reads_files(paths):
    assert image_reader(paths, Cache.OFF, workers=0, processes=1) == read_image


def test_memory_that_is_left_is_the_least_of_machine_and_container(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    assert memory.available_bytes() is None

    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    8000 kB\n")
    assert memory.available_bytes() == 8000 * 1024

    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 500000\n")
    assert memory.available_bytes() == 2_500_000

    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 8000 * 1024
