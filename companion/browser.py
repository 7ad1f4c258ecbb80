"""Leaf through what stored runs asked for: ipywidgets in a notebook, the same picture standing still in html."""

import base64
import io

import pandas as pd
from matplotlib.figure import Figure

from alpt_lib import models, plotting
from alpt_lib.experiments import Study

COLUMNS, ROWS = 8, 4  # examples shown of a query batch
WIDGET = "application/vnd.jupyter.widget-view+json"


def picture(study: Study, dataset: str, model: str, seed: int, round_: int) -> bytes:
    """One query batch of every arm, side by side, most wanted first, as png. The title of each says its minority share."""
    acquired, data = study.acquisitions, study.datasets[dataset]
    of_run = acquired[(acquired.dataset == dataset) & (acquired.model == model) & (acquired.seed == seed)]
    batch, arms = of_run[of_run["round"] == round_], study.parameters["acquisitions"]
    is_text = data.description.modality == "text"
    figure = Figure(figsize=(plotting.WIDTH, 2.6 if is_text else 2.3), layout="constrained")
    for ax, arm in zip(figure.subplots(1, len(arms), squeeze=False)[0], arms, strict=True):
        asked = batch[batch.acquisition == arm]
        share = f": {asked.subgroup.isin(data.minority).mean():.0%} minority" if data.minority else ""
        ax.set_title(f"{plotting.name(arm)}{share}")
        plotting.contact_sheet(ax, data, asked if is_text else _wrapped(asked))
        ax.set_yticks([])
    plotting.subgroup_legend(figure.axes[0], data)
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

    dataset = widgets.Dropdown(options=[(study.title(name), name) for name in study.datasets], description="dataset")
    model, seed = widgets.Dropdown(description="model"), widgets.Dropdown(description="seed")
    round_ = widgets.IntSlider(min=1, max=1, description="round", continuous_update=False)
    image = widgets.Image(format="png", layout={"max_width": "100%"})

    def refill(_=None) -> None:
        rows = study.acquisitions[study.acquisitions.dataset == dataset.value]
        model.options = [(models.title(name), name) for name in rows.model.unique()]
        seed.options = sorted(rows.seed.unique().tolist())
        round_.max = int(rows["round"].max())

    def redraw(_=None) -> None:
        if None not in (model.value, seed.value):
            image.value = picture(study, dataset.value, model.value, seed.value, round_.value)

    refill()
    round_.value = round_.max
    redraw()
    dataset.observe(refill, "value")
    for control in (dataset, model, seed, round_):
        control.observe(redraw, "value")
    box = widgets.VBox([widgets.HBox([dataset, model]), widgets.HBox([seed, round_]), image])
    alt = f"What each arm asked for in round {round_.value} of seed {seed.value}, {study.title(dataset.value)}"
    content = {**box._repr_mimebundle_(), "image/png": base64.b64encode(image.value).decode(), "text/plain": alt}
    display(content, raw=True, metadata={"image/png": {"alt": alt}})
