"""The page: everything is on it, nothing on it comes from elsewhere, and a browser shows it as it should."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mtlbench.report.inline import VARIABLES
from mtlbench.report.page import page
from mtlbench.report.result import Claim
from report.browser import CHROMIUM, Browser, browser
from report.drawings import drawing
from report.tables import EVIL, MARKS, example

DRAWN = {"svg", "g", "path", "text", "use", "defs", "clippath", "pattern"}
VOID = {"meta", "img", "input", "br", "hr", "link"}


class Elements(HTMLParser):
    """All elements with their attributes and the texts between; an end tag must close what was opened last."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.texts))


@pytest.fixture(scope="module")
def html() -> str:
    return page([example(), drawing()])


@pytest.fixture(scope="module")
def elements(html: str) -> Elements:
    return Elements(html)


def test_elements_are_closed_and_names_unique(elements: Elements) -> None:
    assert elements.open == []
    names = [name for _, attributes in elements.found if (name := attributes.get("id"))]
    assert len(names) == len(set(names))
    inner = [address[1:] for _, a in elements.found if (address := a.get("href") or "").startswith("#")]
    inner += [
        name for _, a in elements.found for value in a.values() for name in re.findall(r"url\(#(.*?)\)", value or "")
    ]
    assert len(inner) > 10
    assert set(inner) <= set(names)
    drawn = {a["id"] for tag, a in elements.found if tag in DRAWN and "id" in a}
    assert drawn <= set(inner)


def test_nothing_is_loaded_and_no_foreign_script_runs(html: str, elements: Elements) -> None:
    assert not [a for _, a in elements.found if "src" in a or any(name.startswith("on") for name in a)]
    assert not re.findall(r"url\((?!#)", html)  # what a drawing's parts refer to is on the page
    assert "xlink" not in html
    assert "@import" not in html
    assert [tag for tag, _ in elements.found if tag in ("script", "style", "img", "link", "iframe")] == [
        "style",
        "script",
    ]
    links = [a["href"] for tag, a in elements.found if tag == "a" and not (a["href"] or "").startswith("#")]
    assert links == ["https://mlflow.example/#/runs/1"] * 2
    assert not [a for _, a in elements.found if "style" in a]  # the policy would drop it


def test_hostile_labels_are_text(elements: Elements) -> None:
    """Eight places: row, its group, cost, run, claim, evidence, note, legend; and a finding and a note of a figure."""
    assert elements.text.count(EVIL) >= 8 + 2


def test_every_number_and_verdict_is_there(elements: Elements) -> None:
    text = elements.text
    assert "0.7034 ± 0.0027† paper 0.6275 1 simulated" in text
    assert "0.7346 ± 0.0027†* paper 0.6259 simulated" in text
    assert "0.599† paper - scaled negative transfer" in text
    assert "0.52 ± 0.00 paper 0.50 above: worse" in text  # of a loss
    assert "0.48 ± 0.00 paper 0.48 1 , 2 within" in text
    assert "95 %: 0.7246 to 0.7446 best 0.7356 of 2 seeds +0.0312 against DNN paired t-test: p = 0.0041" in text
    assert "paper 0.65 not run" in text
    assert "Ali-CCP 9,000" in text
    assert "8,176 461 11,009 7.3 6.2" in text
    assert "-0.33" in text
    assert "10 of 16" in text
    assert "1 within, 1 worse" in text
    assert "1 holds, 1 not run" in text
    assert "↓ lower is better" in text


def test_marks_stand_over_the_table_in_the_overview_and_in_the_figures(elements: Elements) -> None:
    for mark in MARKS:
        assert elements.text.count(mark) >= 2
    assert "2 of 2 results below: simulated data, a part of the data or other settings, as marked" in elements.text
    figures = sum(tag == "svg" for tag, _ in elements.found)
    assert figures == 2
    for mark in MARKS:
        assert elements.text.count(mark) == 2 * 3  # overview, section and drawing, of the table and of the figure


def test_a_figure_stands_there_with_findings_notes_runs_and_what_is_missing(elements: Elements) -> None:
    assert "made_fig1 Made up $x_1$ & <b>drawn</b>" in elements.text
    assert "4 panels, 1 run, 2 findings, 1 not drawn 1 fails" in elements.text
    section = elements.text.partition("P: A 100 % paper, V. Figure 1.")[2]
    order = [
        "2.12",
        "embedding width",
        "Not drawn",
        "fails (scaled) MPA rises",
        "it rises only",
        "MPA is best at a width of 8",
        "1 of 5 seeds",
        "id0",
    ]
    assert sorted(order, key=section.index) == order
    assert "DEPHN with mul_exp on MPA" in section
    assert EVIL in section


def test_drawings_have_no_style_of_their_own(elements: Elements) -> None:
    """Colours that follow the page's are variables, those of a heat map's cells numbers; the font is the page's."""
    fills = {a["fill"] for _, a in elements.found if "fill" in a}
    assert {"var(--text)", "var(--soft)", "var(--raised)", "var(--warning)", "var(--c0)", "#ffffff"} <= fills
    assert not {colour for colour in fills if colour in VARIABLES}
    assert not [a for _, a in elements.found if "font-family" in a]


def test_what_did_not_converge_is_marked_and_its_claim_withheld() -> None:
    result = example()
    first = result.rows[0]
    cells = (replace(first.cells[0], converged=False), *first.cells[1:])
    claim = Claim(text="x", verdict="withheld: not converged", evidence=("why",))
    shown = page([replace(result, rows=(replace(first, cells=cells), *result.rows[1:]), claims=(claim,))])
    assert '<span class="badge claim withheld">withheld: not converged</span> x' in shown
    assert "†‡</span>" in shown
    assert "†‡</span>" not in page([result])


def test_real_data_bear_no_mark() -> None:
    result = example()
    rows = tuple(replace(row, runs=tuple(replace(run, origin="real") for run in row.runs)) for row in result.rows)
    assert "SIMULATED" not in Elements(page([replace(result, rows=rows, marks=())])).text


# -- in a browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def file(html: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_fits_the_window_without_complaint(tab: Browser, file: Path, width: int, dark: bool) -> None:
    tab.open(file, width=width, dark=dark)
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    red, green, blue = map(int, re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))[:3])
    assert (red + green + blue < 3 * 128) == dark
    assert tab.complaints == []
    assert tab.requests == [file.resolve().as_uri()]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_drawing_follows_the_colours_of_the_page(tab: Browser, file: Path, dark: bool) -> None:
    tab.open(file, width=1280, dark=dark)

    def seen(element: str, what: str) -> str:
        return tab.evaluate(f"getComputedStyle({element}).{what}")

    named = "[...document.querySelectorAll('.drawing text')].find(t => t.textContent === '{}')"
    assert seen(named.format("embedding width"), "fill") == seen("document.body", "color")
    assert seen(named.format("2.12"), "fill") == "rgb(255, 255, 255)"  # on the dark red of its cell
    assert seen(named.format("1.00"), "fill") == "rgb(0, 0, 0)"  # on white
    sheet, card = "document.querySelector('.drawing svg path')", "document.querySelector('.drawing')"
    assert seen(sheet, "fill") == seen(card, "backgroundColor")
    first = tab.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--c0')")
    red, green, blue = (int(first[i : i + 2], 16) for i in (1, 3, 5))
    bars = tab.evaluate("[...document.querySelectorAll('.drawing path')].map(p => getComputedStyle(p).fill)")
    assert bars.count(f"rgb({red}, {green}, {blue})") == 1
    assert seen(named.format("embedding width"), "fontFamily").startswith("system-ui")


def test_a_drawing_is_scrolled_in_its_box_on_a_phone_and_read_there(tab: Browser, file: Path) -> None:
    tab.open(file, width=375)
    box = "document.querySelector('.drawing')"
    assert tab.evaluate(f"{box}.clientWidth") <= 375
    assert tab.evaluate(f"{box}.scrollWidth") > 700
    sizes = "[...document.querySelectorAll('.drawing text')].map(t => parseFloat(getComputedStyle(t).fontSize))"
    scale = "document.querySelector('.drawing svg').getScreenCTM().a"
    assert tab.evaluate(f"Math.min(...{sizes}) * {scale}") >= 10  # pixels


def test_prints_dark_on_light_with_everything_open(tab: Browser, file: Path) -> None:
    tab.open(file, width=1280)
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    tab.call("Emulation.setEmulatedMedia", media="print", features=[dark])
    red, green, blue = map(int, re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).color"))[:3])
    assert red + green + blue < 3 * 64
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")


LABELS = "[...document.querySelectorAll('table.sortable')[0].tBodies[0].rows].map(r => r.cells[0].dataset.value)"


def click(tab: Browser, heading: int) -> str:
    button = f"document.querySelectorAll('table.sortable')[0].querySelectorAll('thead button')[{heading}]"
    tab.evaluate(f"{button}.click()")
    return "".join(tab.evaluate(LABELS))


def test_sorts_by_a_click_best_first_then_worst_first_then_as_it_was(tab: Browser, file: Path) -> None:
    """Headings in document order: model, average rank, then the columns. Rows: 1 DNN, 2 MM_oE, 3 hostile, 4 not run."""
    tab.open(file, width=1280)
    assert [click(tab, 2) for _ in range(3)] == ["2134", "3124", "1234"]  # click AUC
    assert [click(tab, 5) for _ in range(3)] == ["3214", "1234", "1234"]  # loss: the lowest first
    assert [click(tab, 1) for _ in range(2)] == ["2134", "3124"]  # rank
    assert tab.evaluate("[...document.querySelectorAll('[aria-sort]')].map(h => h.getAttribute('aria-sort'))") == [
        "descending"
    ]
    assert [click(tab, 3), click(tab, 0)] == ["1234", "1234"]


def test_more_is_shown_on_request(tab: Browser, file: Path) -> None:
    tab.open(file, width=1280)
    shown = "document.querySelector('.more').checkVisibility()"
    assert not tab.evaluate(shown)
    tab.evaluate("document.querySelector('#more').click()")
    assert tab.evaluate(shown)


def test_a_script_that_escaped_would_not_run(tab: Browser, file: Path) -> None:
    """The second line of defence: the policy allows the page's own script alone."""
    injected = file.with_name("injected.html")
    injected.write_text(file.read_text().replace("<main>", "<main><script>window.broken = 1</script>"))
    tab.open(injected, width=1280)
    assert tab.evaluate("typeof window.broken") == "undefined"
    assert any("Content Security Policy" in str(complaint) for complaint in tab.complaints)
