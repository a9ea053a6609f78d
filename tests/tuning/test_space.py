"""Search spaces that are shipped fit their models; what a trial tries depends on seed, number and history alone."""

from pathlib import Path

import pytest

from mtlbench.cli.choices import choices
from mtlbench.cli.compose import compose
from mtlbench.cli.search_path import conf_folder

pytest.importorskip("optuna", reason="needs the extra 'tune'")

from mtlbench.tuning.space import Values, as_words, model_space, read_space
from mtlbench.tuning.trials import Method, Suggestion, Trial

SPACES = conf_folder() / "space"
OWN = sorted(path.stem for path in SPACES.glob("*.yaml") if path.stem != "default")
SPACE = {
    "optimizer.lr": Values(log=(1e-4, 1e-2)),
    "profile.experts": Values.model_validate({"int": [2, 8]}),
    "profile.tower_layers": Values(choice=[[], [32], None]),
}


@pytest.mark.parametrize("model", OWN)
def test_a_shipped_space_has_keys_of_its_model(model: str):
    assert model in choices("model")
    own = SPACES / f"{model}.yaml"
    space = model_space(compose([f"model={model}"]), SPACES / "default.yaml", own, [])
    assert set(read_space(own)) <= set(space)
    assert {"optimizer.lr", "profile.embedding_std"} <= set(space)


def test_there_are_spaces_of_six_models():
    assert len(OWN) == 6


def test_keys_of_all_models_count_where_a_model_reads_them():
    space = model_space(compose(["model=dnn"]), SPACES / "default.yaml", None, ["optimizer.lr=0.1"])
    assert "profile.deep_layers" in space
    assert not {"profile.expert_layers", "profile.bottom_layers", "optimizer.lr"} & set(space)


def trial(suggestion: Suggestion, score: float) -> Trial:
    words = tuple(as_words(suggestion.params))
    return Trial(number=suggestion.number, state="complete", words=words, score=score)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trial_is_a_function_of_seed_number_and_history(sampler: str):
    method = Method(sampler=sampler, pruner="none", seed=3)  # pyright: ignore[reportArgumentType]
    history = []
    for number in range(8):
        suggestion, again = Suggestion(history, SPACE, method), Suggestion(list(history), SPACE, method)
        assert suggestion.params == again.params
        assert suggestion.number == number
        history.append(suggestion.ended(trial(suggestion, score=number / 10)))
    assert len({frozen.params["optimizer.lr"] for frozen in history}) == 8
    other = Suggestion([], SPACE, Method(sampler=sampler, pruner="none", seed=4))  # pyright: ignore[reportArgumentType]
    assert other.params != history[0].params


def test_settings_are_written_as_overrides():
    params = {"optimizer.lr": 0.00123456, "profile.experts": 3, "profile.tower_layers": "[64, 32]", "model.x": "null"}
    assert as_words(params) == [
        "optimizer.lr=0.001235", "profile.experts=3", "profile.tower_layers=[64, 32]", "model.x=null",
    ]  # fmt: skip


def test_halving_lets_a_third_pass_and_decides_the_same_whenever_it_is_asked():
    method = Method(sampler="random", pruner="halving", seed=0)
    first = Suggestion([], SPACE, method)
    assert first.pruned_after([0.5, 0.6]) is None
    history = [first.ended(trial(first, 0.6))]
    assert Suggestion(history, SPACE, method).pruned_after([0.4, 0.7]) == 1
    step_by_step = Suggestion(history, SPACE, method)
    assert [step_by_step.pruned_after(curve) for curve in ([0.4], [0.4, 0.7])] == [1, 1]
    assert Suggestion(history, SPACE, method).pruned_after([0.55]) is None


def test_the_median_prunes_from_the_sixth_trial_on():
    method = Method(sampler="random", pruner="median", seed=0)
    history = []
    for score in (0.1, 0.2, 0.3, 0.4, 0.5):
        suggestion = Suggestion(history, SPACE, method)
        assert suggestion.pruned_after([score]) is None
        history.append(suggestion.ended(trial(suggestion, score)))
    assert Suggestion(history, SPACE, method).pruned_after([0.29]) == 1
    assert Suggestion(history, SPACE, method).pruned_after([0.31]) is None


def test_a_space_is_read_from_its_file(tmp_path: Path):
    file = tmp_path / "space.yaml"
    file.write_text("optimizer.lr: {log: [1e-4, 1e-2]}\nmodel.gate_layers: {choice: [[], [16]]}\n")
    assert read_space(file) == {
        "optimizer.lr": Values(log=(1e-4, 1e-2)),
        "model.gate_layers": Values(choice=[[], [16]]),
    }
