"""Leaf through what stored runs asked for: ipywidgets in a notebook, the same picture standing still in html."""

import base64
import io

import pandas as pd
from matplotlib.figure import Figure

from alpt_lib import registry
from companion.report import contact_sheets, plotting
from companion.report.study import Study

COLUMNS, ROWS = 8, 4  # examples shown of a query batch


def picture(study: Study, dataset: str, model: str, seed: int, round_: int) -> bytes:
    """One query batch of every arm, side by side, most wanted first, as png."""
    acquired, data = study.acquisitions, study.datasets[dataset]
    of_run = acquired[
        (acquired.dataset == dataset) & (acquired.model == model) & (acquired.seed == seed)
    ]
    batch, is_text = of_run[of_run["round"] == round_], data.description.modality == "text"
    figure = Figure(figsize=(plotting.WIDTH, 2.3), layout="constrained")
    contact_sheets.sheets(
        figure, data, batch if is_text else _wrapped(batch), study.parameters["acquisitions"], ""
    )
    for ax in figure.axes:
        ax.set_yticks([])
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()


def _wrapped(asked: pd.DataFrame) -> pd.DataFrame:
    """A batch over several rows of a contact sheet, which has a row a round."""
    shown = asked[asked["rank"] < COLUMNS * ROWS]
    return shown.assign(round=shown["rank"] // COLUMNS, rank=shown["rank"] % COLUMNS)


def browse(study: Study) -> None:
    """Show a browser of the study's runs by dataset, model, seed and round.

    Where no kernel answers (html, a printout) the picture of the last round of the first dataset and seed stands in its place.
    """
    import ipywidgets as widgets
    from IPython.display import display

    dataset = widgets.Dropdown(
        options=[(study.title(name), name) for name in study.datasets], description="dataset"
    )
    model, seed = widgets.Dropdown(description="model"), widgets.Dropdown(description="seed")
    round_ = widgets.IntSlider(min=1, max=1, description="round", continuous_update=False)
    image = widgets.Image(format="png", layout={"max_width": "100%"})

    def refill(_=None) -> None:
        rows = study.acquisitions[study.acquisitions.dataset == dataset.value]
        for control, options in (
            (model, [(registry.title(name), name) for name in rows.model.unique()]),
            (seed, [(str(s), s) for s in sorted(rows.seed.unique().tolist())]),
        ):
            control.options = options
            control.index = 0
        round_.max = int(rows["round"].max())

    def redraw(_=None) -> None:
        if None not in (model.value, seed.value):  # between two choices
            image.value = picture(study, dataset.value, model.value, seed.value, round_.value)

    refill()
    round_.value = round_.max
    redraw()
    dataset.observe(refill, "value")
    for control in (dataset, model, seed, round_):
        control.observe(redraw, "value")
    box = widgets.VBox([widgets.HBox([dataset, model]), widgets.HBox([seed, round_]), image])
    alt = f"What each arm asked for in round {round_.value} of seed {seed.value}, {study.title(dataset.value)}"
    content = {
        **box._repr_mimebundle_(),
        "image/png": base64.b64encode(image.value).decode(),
        "text/plain": alt,
    }
    display(content, raw=True, metadata={"image/png": {"alt": alt}})
