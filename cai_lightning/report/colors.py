"""The colors of plots and of the page, those of runs among them, each with a name and a value on light and dark ground.

run_color(2)          # "run-2", the name of a run's color
colors()["run-2"]     # its value in a file
stylesheet()          # the same as variables of the page
"""

RUN_COLORS = (
    ("#66707e", "#98a4b3"),
    ("#2f6fb3", "#6ba5ea"),
    ("#c4701a", "#eba058"),
    ("#24855b", "#5cc594"),
    ("#8450b8", "#b58ae6"),
    ("#bf3f77", "#ec83ae"),
    ("#11828f", "#4fc3d0"),
    ("#7d7a24", "#c4c05c"),
)
"""A run's color by its number, on light and on dark ground; runs beyond these begin again."""
COLORS = {
    "ground": ("#f7f7f5", "#11151a"),
    "card": ("#ffffff", "#191f26"),
    "ink": ("#1b2430", "#e4e8ee"),
    "quiet": ("#5b6675", "#98a4b3"),
    "line": ("#e2e5ea", "#2a323c"),
    "rail": ("#eef0f3", "#232a33"),
    "accent": ("#2458a6", "#86b4f2"),
    "better": ("#16734a", "#62cc93"),
    "worse": ("#b3261e", "#f28b82"),
    "against": ("#c9641c", "#e39450"),
    "fresh": ("#dcf3e4", "#17402b"),
    **{f"run-{number}": pair for number, pair in enumerate(RUN_COLORS)},
}
"""Every color of plots and of the page by its name, light and dark."""


def colors() -> dict[str, str]:
    """The light colors by their names."""
    return {name: light for name, (light, _) in COLORS.items()}


def run_color(number: int) -> str:
    """The name of a run's color."""
    return f"run-{number % len(RUN_COLORS)}"


def stylesheet() -> str:
    """The colors as variables of the page's stylesheet, and for each run a class that makes its color `--run`."""
    light, dark = ("".join(f"--{name}: {pair[n]}; " for name, pair in COLORS.items()) for n in (0, 1))
    classes = "".join(f".run-{n} {{ --run: var(--run-{n}); }}\n" for n in range(len(RUN_COLORS)))
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n{classes}"
