"""Pages that are generated for the documentation site; the build itself, `make docs`, checks links and references."""

import json

import pytest

from mtlbench.cli.choices import choices

pytest.importorskip("griffe", reason="griffe is not installed: pip install 'mtlbench[docs]'")

from scripts.site.docstring import documented
from scripts.site.notebook import notebook_page
from scripts.site.pages import choice_page, generated_pages


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(generated_pages())


def test_every_model_and_data_set_has_a_page(pages: dict[str, str]):
    assert {f"models/{name}.md" for name in choices("model")} <= set(pages)
    assert {f"datasets/{name}.md" for name in choices("dataset")} <= set(pages)
    assert len(pages) >= 40 + 12 + 9
    assert all(text.startswith("# ") for text in pages.values())


def test_a_model_has_its_equations_paper_parameters_and_departures(pages: dict[str, str]):
    page = pages["models/mmoe.md"]
    assert "`f_t = sum_e g_te(x) f_e(x)`" in page
    assert "- `gate_dropout`: probability that a gate is closed in training." in page
    assert "**Paper:** Ma, Zhao, Yi" in page
    assert "**Departure:** none." in page
    for name in choices("model"):
        assert "**Paper:**" in pages[f"models/{name}.md"], name
        assert "**Departure:**" in pages[f"models/{name}.md"], name
        assert "**Parameters**" in pages[f"models/{name}.md"], name


def test_a_data_set_has_its_source_terms_and_commented_keys(pages: dict[str, str]):
    published = {name: page for name in choices("dataset") if "source: auto" in (page := pages[f"datasets/{name}.md"])}
    assert len(published) >= 7
    for name, page in published.items():
        assert "**Source:**" in page, name
        assert "**Terms:**" in page, name
    assert "min_count: 1           # every value in training rows is known" in pages["datasets/census.md"]


def test_the_keys_of_a_schema_stand_on_their_page(pages: dict[str, str]):
    (name,) = (path for path, text in pages.items() if "## Keys of a schema" in text)
    assert name == "datasets/parquet.md"
    assert "label*        column of 0 and 1, or of numbers for a regression task" in pages[name]


def test_a_variant_shows_the_files_that_it_starts_from():
    page = choice_page("model", "mpa_fine")
    assert page.index('title="conf/model/mpa_fine.yaml"') < page.index('title="conf/model/_mpa.yaml"')
    assert "mtlbench.models.mpa.MPA" in page


def test_a_page_says_what_measures_it(pages: dict[str, str]):
    assert "- `mtlbench reproduce census_mmoe`: Multi-gate Mixture" in pages["models/mmoe.md"]
    assert "- `mtlbench reproduce census_mmoe`: Multi-gate Mixture" in pages["datasets/census.md"]
    assert "census_mmoe" not in pages["models/mssm.md"]


def test_commands_are_their_help(pages: dict[str, str]):
    page = pages["commands.md"]
    assert "## mtlbench reproduce" in page
    assert "Usage: mtlbench train [OPTIONS]" in page
    assert "dselect_k" in page, "choices of groups"


def test_labels_in_the_middle_of_a_line_begin_a_paragraph():
    assert "\n\n**Departure:**" in documented("mtlbench.models.esmm.ESMM")


def test_a_notebook_is_its_text_and_code():
    cells = [{"cell_type": "markdown", "source": ["# A\n", "text"]}, {"cell_type": "code", "source": ["1 + 1"]}]
    assert notebook_page(json.dumps({"cells": cells})) == "# A\ntext\n\n```python\n1 + 1\n```"
