"""Draws panels once, for the page and for files alike.

    inline(panel)  # an element of the page
    save_panels(output / "differences", [panel, another], caption)  # differences.png, differences.svg

matplotlib draws. A panel is as wide as a phone, so that the page can stack panels and a file can put them side by side.
Text stays text, and what a pointer over a mark tells is its `<title>`. In the page a panel is light or dark as the page
is, for its colors stand there by their names (`colors.py`); in a file it is light.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from cai_lightning.report.colors import colors
from cai_lightning.run.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAINTED = {
    "text.color": "ink",
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), "quiet"),
    "grid.color": "line",
}
"""What matplotlib itself paints, by its setting and the color's name."""
STYLE = Path(__file__).parent / "html" / "plots.mplstyle"
WIDTH, EDGE, ABOVE, BELOW, KEY, CAPTION = 320.0, 12.0, 26.0, 40.0, 18.0, 26.0
"""Pixels: a panel's width; what is left beside, above and below its axes; the height of a key and of a caption."""
ACROSS = 3
DPI = 180
"""Dots of a PNG to 72 pixels."""
MOST_LETTERS = 42
"""Letters for which a panel is wide enough."""
TIP = "tip: "
"""How the id of a drawn thing begins whose rest is told by a pointer over it."""
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_NOT_IN_XML = str.maketrans(dict.fromkeys("\ufffe\uffff", "\ufffd"))


@dataclass(frozen=True)
class Key:
    """What a color stands for: a sign and a name below the axes, and what a pointer over them tells."""

    sign: str
    name: str
    color: str
    tip: str = ""


@dataclass(frozen=True)
class Panel:
    """A plot.

    Args:
        title: What it shows; in a file it stands above it, the page has headings of its own.
        draw: Draws it on its axes.
        height: Pixels of the axes.
        left: Pixels to their left.
        keys: What its colors stand for.
    """

    title: str
    draw: "Callable[[Axes], None]"
    height: float
    left: float = EDGE
    keys: Sequence[Key] = ()

    @property
    def below(self) -> float:
        """Pixels below the axes."""
        return BELOW + KEY * len(self.keys)


def inline(panel: Panel) -> Markup:
    """A panel as an element of the page: as wide as there is room, with its font and its colors by their names."""
    root, names = _svg(figure([panel], above=EDGE), panel.title), {value: name for name, value in colors().items()}
    for name in ("width", "height"):
        del root.attrib[name]
    for element in root.iter():
        element.attrib.pop("font-family", None)
        for name in {"fill", "stroke"} & element.attrib.keys():
            value = element.attrib[name]
            element.set(name, f"var(--{names[value]})" if value in names else value)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def save_panels(path: Path, panels: Sequence[Panel], caption: str, kinds: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Writes panels side by side on white, and returns the files; the same panels give the same files.

    Args:
        path: The files' path without its ending.
        panels: The panels.
        caption: What stands below them.
        kinds: Endings of the files.
    """
    drawn, files = figure(panels, caption), [path.with_suffix(f".{kind}") for kind in kinds]
    drawn.set_facecolor("white")
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.suffix == ".png":
            with _styled():
                drawn.savefig(file, dpi=DPI)
        else:
            root = _svg(drawn, path.name)
            file.write_text(ElementTree.tostring(root, encoding="unicode", xml_declaration=True), encoding="utf-8")
    return files


def figure(panels: Sequence[Panel], caption: str = "", above: float = ABOVE) -> "Figure":
    """Panels in rows, with nothing behind them; with less than usual above them they have no titles."""
    from matplotlib.figure import Figure

    rows = [panels[n : n + ACROSS] for n in range(0, len(panels), ACROSS)]
    tops = np.cumsum([0.0, *(above + max(panel.height + panel.below for panel in row) for row in rows)])
    width, height = WIDTH * len(rows[0]), tops[-1] + (CAPTION if caption else 0)
    with _styled():
        drawn = Figure(figsize=(width / 72, height / 72), dpi=72)
        for row, top in zip(rows, tops, strict=False):
            for n, panel in enumerate(row):
                x, y = n * WIDTH, height - top - above
                size = (WIDTH - panel.left - EDGE) / width, panel.height / height
                axis = drawn.add_axes(((x + panel.left) / width, (y - panel.height) / height, *size))
                panel.draw(axis)
                _write_keys(axis, panel)
                title = shortened(panel.title) if above == ABOVE else ""
                drawn.text((x + EDGE) / width, (y + above / 2) / height, title, weight="bold", va="center")
        drawn.text(0.5, 0.5 * CAPTION / height, printable(caption), ha="center", va="center", wrap=True)
    return drawn


def shortened(name: str, letters: int = MOST_LETTERS) -> str:
    """The name on one line, with its beginning and its end where it is too long."""
    name, end = printable(name), letters // 3
    return name if len(name) <= letters else f"{name[: letters - end - 1]}…{name[-end:]}"


def tip(words: str) -> str:
    """The id of a drawn thing over which a pointer tells these words."""
    return TIP + printable(words)


@contextmanager
def _styled() -> Iterator[None]:
    """Matplotlib as these panels need it; letters that its font does not have are no matter for the page."""
    import matplotlib

    painted: Any = {setting: colors()[name] for setting, name in PAINTED.items()}
    with matplotlib.rc_context(painted, STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _write_keys(axis: "Axes", panel: Panel) -> None:
    for n, key in enumerate(panel.keys):
        y, about = -BELOW - KEY * (n + 0.5), tip(key.tip or key.name)
        for x, words, weight, color in ((0, key.sign, "bold", key.color), (KEY, shortened(key.name), "normal", "ink")):
            place = (x + EDGE - panel.left, y)
            text = axis.annotate(printable(words), (0, 0), place, "axes fraction", "offset points", va="center")
            text.set(color=colors()[color], weight=weight, gid=about)


def _svg(figure: "Figure", title: str) -> ElementTree.Element:
    """A figure without styles, which the page's policy forbids, and without what only matplotlib needs."""
    text = StringIO()
    with _styled():
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": printable(title)})
    root = ElementTree.fromstring(text.getvalue().translate(_NOT_IN_XML))
    for element in list(root.iter()):
        for child in [child for child in element if child.tag in (f"{SVG}metadata", f"{SVG}style")]:
            element.remove(child)
        _strip(element)
    root.attrib |= {"xmlns": SVG[1:-1], "xmlns:xlink": XLINK[1:-1], "role": "img", "stroke-linejoin": "round"}
    return root


def _strip(element: ElementTree.Element) -> None:
    """Styles become attributes, and ids of groups are left out or become titles."""
    attributes, style = element.attrib, element.attrib.pop("style", "")
    element.tag, element.tail = element.tag.removeprefix(SVG), None
    element.text = element.text if element.tag in ("text", "title") else None
    attributes |= dict(pair.split(": ", 1) for pair in style.split("; ") if pair)
    if f"{XLINK}href" in attributes:
        attributes["xlink:href"] = attributes.pop(f"{XLINK}href")
    id = attributes.pop("id", "") if element.tag == "g" else ""
    if id.startswith(TIP):
        title = ElementTree.Element("title")
        title.text = id.removeprefix(TIP)
        element.insert(0, title)
