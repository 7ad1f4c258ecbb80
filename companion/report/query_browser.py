"""Leaf through what stored runs asked for: widgets in a notebook, a still picture in html."""

import base64
import io

from matplotlib.figure import Figure

from alpt_lib import registry
from companion.report import contact_sheets, plotting
from companion.report.study import Study

# rows of pictures that are shown of a query batch
ROWS = 4


def batch_picture(study: Study, dataset: str, model: str, seed: int, number: int) -> bytes:
    """What every acquisition function asked for in round `number`, most wanted first, as png."""
    asked = study.acquisitions
    where = {"dataset": dataset, "model": model, "seed": seed, "round": number}
    for column, value in where.items():
        asked = asked[asked[column] == value]
    figure = Figure(figsize=(plotting.WIDTH, 3.0), layout="constrained")
    arms = study.parameters["acquisitions"]
    contact_sheets.sheets(figure, study.datasets[dataset], asked, arms, "", n_rows=ROWS)
    for ax in figure.axes:
        ax.set_yticks([])
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()


def browse(study: Study) -> None:
    """Show a browser of the study's runs by dataset, model, seed and round.

    Where no kernel answers (html, a printout) the picture of the last round of the first dataset
    and seed stands in its place.
    """
    import ipywidgets as widgets
    from IPython.display import display

    datasets = [(study.title(name), name) for name in study.datasets]
    dataset = widgets.Dropdown(options=datasets, description="dataset")
    model = widgets.Dropdown(description="model")
    seed = widgets.Dropdown(description="seed")
    number = widgets.IntSlider(min=1, max=1, description="round", continuous_update=False)
    image = widgets.Image(format="png", layout={"max_width": "100%"})

    def refill(_=None) -> None:
        rows = study.acquisitions[study.acquisitions["dataset"] == dataset.value]
        model.options = [(registry.title(key), key) for key in rows["model"].unique()]
        seed.options = [(str(value), value) for value in sorted(rows["seed"].unique().tolist())]
        model.index = seed.index = 0
        number.max = int(rows["round"].max())

    def redraw(_=None) -> None:
        # None between two choices
        if model.value is not None and seed.value is not None:
            choice = (dataset.value, model.value, seed.value, number.value)
            image.value = batch_picture(study, *choice)

    refill()
    number.value = number.max
    redraw()
    dataset.observe(refill, "value")
    for control in (dataset, model, seed, number):
        control.observe(redraw, "value")
    box = widgets.VBox([widgets.HBox([dataset, model]), widgets.HBox([seed, number]), image])
    where = f"round {number.value} of seed {seed.value}, {study.title(dataset.value)}"
    words = f"What each acquisition function asked for in {where}"
    content = {
        **box._repr_mimebundle_(),
        "image/png": base64.b64encode(image.value).decode(),
        "text/plain": words,
    }
    display(content, raw=True, metadata={"image/png": {"alt": words}})
