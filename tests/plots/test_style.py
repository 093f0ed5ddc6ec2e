"""What all figures share."""

from marimo._output.formatters.plotly_formatters import PlotlyFormatter

from picochat.plots import style


def test_few_buttons_lie_over_a_figure_and_let_it_through():
    bar = style.figure().layout.template.layout.modebar
    assert bar.bgcolor == "rgba(0,0,0,0)"
    assert {"zoom", "lasso"} <= set(bar.remove)
    page = PlotlyFormatter.render_plotly_dict({}).text
    assert "toImage" in page
    assert "resetScale2d" in page
