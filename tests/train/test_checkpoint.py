"""A checkpoint is whole or not there, belongs to one run, and holds no code."""

import resource
from pathlib import Path

import pytest
import torch

from mtlbench.train import checkpoint


def test_what_is_saved_comes_back(tmp_path: Path):
    content = {"identity": "a", "numbers": [1, 2.5], "tensor": torch.arange(5), "nested": {"x": None}}
    checkpoint.save(tmp_path / "last.pt", content)
    back = checkpoint.load(tmp_path / "last.pt", identity="a")
    assert torch.equal(back.pop("tensor"), content.pop("tensor"))
    assert back == content
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_another_runs_checkpoint_is_refused(tmp_path: Path):
    checkpoint.save(tmp_path / "last.pt", {"identity": "a"})
    with pytest.raises(checkpoint.CheckpointError, match=r"belongs to run 'a', not to 'b'"):
        checkpoint.load(tmp_path / "last.pt", identity="b")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: bytes):
    (tmp_path / "last.pt").write_bytes(damage)
    with pytest.raises(checkpoint.CheckpointError, match=r"last\.pt is damaged.*run\.fresh=true"):
        checkpoint.load(tmp_path / "last.pt", identity="a")


def test_a_truncated_checkpoint_is_refused(tmp_path: Path):
    checkpoint.save(tmp_path / "last.pt", {"identity": "a", "tensor": torch.zeros(1000)})
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(checkpoint.CheckpointError, match="is damaged"):
        checkpoint.load(tmp_path / "last.pt", identity="a")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path):
    torch.save({"identity": "a", "code": Path("x")}, tmp_path / "last.pt")  # a class, not a tensor
    with pytest.raises(checkpoint.CheckpointError, match="contains objects other than tensors and numbers"):
        checkpoint.load(tmp_path / "last.pt", identity="a")


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path):
    checkpoint.save(tmp_path / "last.pt", {"identity": "a"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="the previous one is unchanged"):
            checkpoint.save(tmp_path / "last.pt", {"identity": "b", "tensor": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(tmp_path / "last.pt", identity="a") == {"identity": "a"}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_single_flipped_bit_is_found_wherever_it_is(tmp_path: Path):
    path = tmp_path / "best.pt"
    checkpoint.save(path, {"identity": "a", "tensor": torch.arange(300.0)})
    whole = path.read_bytes()
    mark = range(len(whole) - checkpoint.TRAILER, len(whole) - checkpoint.TRAILER + len(checkpoint.MARK))
    for at in range(0, len(whole), 7):
        if at in mark:  # then the hash is not seen, and the content, which is whole, is checked as below
            continue
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(checkpoint.CheckpointError, match=r"best\.pt is damaged.*run\.fresh=true"):
            checkpoint.load(path, identity="a")
    path.write_bytes(whole)
    assert torch.equal(checkpoint.load(path, identity="a")["tensor"], torch.arange(300.0))


def test_a_checkpoint_without_a_hash_is_read_and_checked_by_the_checksums_of_its_format(tmp_path: Path):
    """What versions before the hash wrote."""
    path = tmp_path / "best.pt"
    torch.save({"identity": "a", "tensor": torch.arange(300.0)}, path)
    assert torch.equal(checkpoint.load(path, identity="a")["tensor"], torch.arange(300.0))
    whole = path.read_bytes()
    at = whole.index(torch.arange(300.0).numpy().tobytes()) + 600
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(checkpoint.CheckpointError, match=r"is damaged.*does not match its checksum"):
        checkpoint.load(path, identity="a")


def test_torchs_advice_to_run_the_code_of_a_file_is_not_passed_on(tmp_path: Path):
    torch.save({"identity": "a", "code": Path("x")}, tmp_path / "last.pt")
    with pytest.raises(checkpoint.CheckpointError) as refused:
        checkpoint.load(tmp_path / "last.pt", identity="a")
    assert "weights_only" not in str(refused.value)
