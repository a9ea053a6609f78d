"""The list of models: nothing is forgotten, and what it says of them is so."""

from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from mtlbench.cli import main
from mtlbench.cli.choices import choices, comments
from mtlbench.cli.compose import compose, compose_group
from mtlbench.cli.list import common_schema, parameter_counts
from mtlbench.experiment.objects import build_model


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    return parameter_counts(common_schema())


def test_every_model_is_listed_with_its_paper_its_size_and_what_it_is(
    counts: dict[str, int], capsys: pytest.CaptureFixture[str]
):
    assert main(["list", "models"]) == 0
    text = capsys.readouterr().out
    names = list(choices("model"))
    assert len(names) >= 37
    assert list(counts) == names
    for name in names:
        paper, what = comments("model", name)
        assert paper == choices("model")[name]
        assert 20 < len(what) <= 116, f"conf/model/{name}.yaml needs a second comment that says what the model is"
        assert f"  {name:<22}{counts[name]:>9,}  {what}\n{'':35}{paper}\n" in text
    lines = [comments("model", name)[1] for name in names]
    assert len(set(lines)) == len(lines)


def test_sizes_are_those_of_the_model_a_run_would_train(counts: dict[str, int]):
    # 19 fields of width 16: a bottom 304 -> 128 -> 64, and for each of two tasks a tower 64 -> 32 -> 1.
    schema = common_schema()
    assert len(schema.fields) == 19
    assert counts["shared_bottom"] == (304 + 1) * 128 + (128 + 1) * 64 + 2 * ((64 + 1) * 32 + 32 + 1)
    for name in ("dephn", "xdeepfm", "mssm_b"):
        model = build_model(compose([f"model={name}"]), schema)
        tables = sum(p.numel() for key, p in model.named_parameters() if "embedding" in key)
        assert counts[name] == sum(p.numel() for p in model.parameters()) - tables


def test_sizes_do_not_depend_on_vocabularies(counts: dict[str, int]):
    schema = common_schema()
    larger = replace(schema, fields=tuple(replace(field, cardinality=50) for field in schema.fields))
    assert parameter_counts(larger) == counts


def test_all_choices_of_a_group_at_once_are_what_they_are_one_by_one():
    together = compose_group("model")
    for name in ("dcn", "dephn", "snr_aver", "mpa_combined"):
        alone = compose([f"model={name}"]).model
        assert OmegaConf.to_container(together[name], resolve=True) == OmegaConf.to_container(alone, resolve=True)
