"""SVG for an HTML page: uses the page's CSS variables and needs no inline styles (CSP-safe)."""

import re
from xml.etree.ElementTree import Element, fromstring, tostring

from mtlbench.report.draw import svg
from mtlbench.report.figure import FigureResult
from mtlbench.report.panels import GROUND, LINE, PALETTE, SOFT, TEXT, WARNING

VARIABLES = {TEXT: "text", SOFT: "soft", LINE: "line", GROUND: "raised", WARNING: "warning"} | {
    colour: f"c{index}" for index, colour in enumerate(PALETTE)
}
"""CSS variables of colours that follow the page's light or dark theme; colours of heat map cells are fixed."""
PIXELS = 1.7
"""CSS pixels per point, which makes the figure's text as large as the page's small text."""
DECIMALS = re.compile(r"(\.\d\d)\d+")
KEPT = re.compile(r"url\(#(.+?)\)")


def inline_svg(result: FigureResult) -> str:
    """The figure as an ``svg`` element without styles, XML namespaces and unused ids.

    The page's content security policy blocks ``style`` attributes and elements, so each property becomes a separate
    attribute; the font is the page's. Title, source and missing parts are left to the page.
    """
    root = fromstring(svg(result, titled=False))
    _strip(root)
    for element in root.iter():
        element.tag = _local(element.tag)
        properties = [part.split(":", 1) for part in element.attrib.pop("style", "").split(";") if part.strip()]
        element.attrib = {_local(name): value for name, value in element.attrib.items()}
        element.attrib |= {name.strip(): value.strip() for name, value in properties if name.strip() != "font-family"}
        if "d" in element.attrib:  # a precision of 0.01 points suffices, and halves the size
            element.attrib["d"] = DECIMALS.sub(r"\1", " ".join(element.attrib["d"].split()))
        for name in ("fill", "stroke"):
            if (variable := VARIABLES.get(element.attrib.get(name, ""))) is not None:
                element.attrib[name] = f"var(--{variable})"
    referred = {name for element in root.iter() for value in element.attrib.values() for name in _references(value)}
    for element in root.iter():
        if element.get("id") not in referred:
            element.attrib.pop("id", None)
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    size = {"width": f"{width * PIXELS:.0f}", "height": f"{height * PIXELS:.0f}"}
    root.attrib = {"viewBox": root.attrib["viewBox"], **size, "role": "img", "aria-label": result.title}
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt"}  # from the SVG's style sheet
    return tostring(root, encoding="unicode")


def _strip(root: Element) -> None:
    """Remove the metadata and the style sheet."""
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)


def _references(value: str) -> list[str]:
    return [value[1:]] if value.startswith("#") else KEPT.findall(value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
