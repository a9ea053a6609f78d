"""What a configuration may name, by the object found."""

from pathlib import Path

import pytest

from mtlbench.allowed import ALLOW
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.targets import import_object

REFUSED = [
    ("model", "os.system", "is outside"),
    ("model", "mtlbench_other.Model", "is outside"),
    ("model", "torch.nnx.Model", "is outside"),
    ("model", "torch.hub.load", "is outside"),
    ("model", "torch.nn.modules.module.torch.hub", "cannot import"),
    ("model", "mtlbench.tracking.folder.os", "found a module"),
    ("model", "mtlbench.tracking.folder.Path", "pathlib.Path is outside"),
    ("model", "mtlbench.experiment.targets.PACKAGES", "has no 'PACKAGES'|found a tuple"),
    ("model", "mtlbench.export.bundle.version", "importlib.metadata.version is outside"),
    ("model", "mtlbench.models.mmoe.Nothing", "has no 'Nothing'"),
    ("model", "mtlbench.models.nothing.Model", "cannot import"),
    ("model", "torch.optim.Adam", "expected a subclass of torch.nn.Module"),
    ("model", "mtlbench.cli.main", "expected a subclass of torch.nn.Module"),
    ("model.network", "mtlbench.data.split.by_time", "expected a subclass of torch.nn.Module"),
    ("optimizer.dense", "torch.nn.Linear", "expected a subclass of torch.optim.Optimizer"),
    ("dataset.reader", "mtlbench.tracking.journal.Journal", "expected a reader"),
    ("dataset.split", "mtlbench.data.split.SplitInput", "expected a split rule"),
    ("dataset.split", "mtlbench.cli.main", "expected a split rule"),
    ("dataset.relabel", "mtlbench.datasets.census.Census", "expected a class with version, tasks and __call__"),
    ("virtual_gradient", "torch.nn.ReLU", "expected a subclass of mtlbench.nn.virtual_gradient.VirtualGradient"),
    ("draws", "mtlbench.cli.main", "expected a drawing"),
    ("trainer", "torch.nn.Linear", "no object is built at this key"),
    ("modelling", "torch.nn.Linear", "no object is built at this key"),
    ("model", "", "expected a dotted name"),
    ("model", None, "expected a dotted name"),
    ("model", 7, "expected a dotted name"),
    ("model", "MMoE", "expected a dotted name"),
    ("model", ".mtlbench.models.mmoe.MMoE", "expected a dotted name"),
    ("model", "mtlbench.models.mmoe.MMoE()", "expected a dotted name"),
]


@pytest.mark.parametrize(("where", "name", "reason"), REFUSED)
def test_what_is_refused(where: str, name: object, reason: str):
    with pytest.raises(ConfigError, match=reason):
        import_object(name, where)


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("model", "mtlbench.models.mmoe.MMoE"),
        ("model.network", "torch.nn.Linear"),  # defined in torch.nn.modules.linear
        ("balancing", "mtlbench.balancing.constant.Equal"),
        ("optimizer.gate", "torch.optim.Adam"),  # defined in torch.optim.adam
        ("optimizer.dense", "mtlbench.train.optimizers.LazyAdam"),
        ("dataset.reader", "mtlbench.datasets.parquet.dataset.ParquetFolder"),
        ("dataset.split", "mtlbench.data.split.by_time"),
        ("dataset.relabel", "mtlbench.relabel.confidence.ConfidenceLabels"),
        ("virtual_gradient", "mtlbench.nn.virtual_gradient.VirtualGradient"),
        ("draws", "mtlbench.reproduce.figures.selection.shares"),
    ],
)
def test_what_is_allowed(where: str, name: str):
    assert import_object(name, where).__name__ == name.rpartition(".")[2]


def test_a_weighting_of_torchjd():
    pytest.importorskip("torchjd", reason="the extra `balancing` is not installed")
    assert import_object("torchjd.aggregation.UPGradWeighting", "balancing.weighting").__name__ == "UPGradWeighting"


def test_a_module_that_is_not_allowed_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "evil_on_import.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(ALLOW, "toy")
    with pytest.raises(ConfigError, match=r"add run\.allow=\[toy,evil_on_import\] to the command"):
        import_object("evil_on_import.Model", "model")
