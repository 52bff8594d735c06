"""Joining samples, and the sheet that shows them."""

from typing import Any

import torch

from megactor_core.config.data import DataConfig
from megactor_core.data.batch import collate
from megactor_core.data.preview import TILE_PX, preview_sheet


def test_a_batch_is_its_samples_in_order(make: Any) -> None:
    data = make.data(DataConfig.for_stage(3))
    items = [data[i] for i in (5, 2, 9)]
    batch = collate(items)
    assert batch.index.tolist() == [5, 2, 9]
    assert batch.index.dtype == torch.int64
    assert batch.mode == tuple(item.mode for item in items)
    for name in ("reference", "target", "driving", "eyes", "mouth", "loss_weight", "audio"):
        joined = getattr(batch, name)
        assert all(torch.equal(joined[i], getattr(item, name)) for i, item in enumerate(items)), name
    for name in ("mask_active", "has_audio", "null"):
        flags = getattr(batch, name)
        assert flags.dtype == torch.bool
        assert flags.tolist() == [getattr(item, name) for item in items]
    assert batch.reference_latent is None
    assert batch.target_latent is None


def test_a_batch_moves_whole(make: Any) -> None:
    data = make.data(DataConfig())
    batch = collate([data[0], data[1]])
    moved = batch.to("meta")
    assert moved.mode == batch.mode
    assert moved.target_latent is None
    for name in ("index", "reference", "target", "driving", "eyes", "mouth", "mask_active", "loss_weight"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(batch, name).device.type == "cpu"


def test_the_sheet_has_a_row_a_sample_and_tints_the_masks(make: Any) -> None:
    data = make.data(DataConfig(null_rate=0))
    items = [data[i] for i in range(3)]
    sheet = preview_sheet(items)
    assert sheet.dtype.name == "uint8"
    assert sheet.shape[0] > 3 * TILE_PX
    one = preview_sheet(items[:1])
    assert one.shape[0] < sheet.shape[0]
    clip = make.data(DataConfig.for_stage(3))[0]
    assert preview_sheet([clip]).shape[1] > one.shape[1]  # the first and the last frame
