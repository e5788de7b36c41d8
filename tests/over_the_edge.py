"""For the tests of figures: what does not fit the picture."""

from matplotlib.text import Text


def outside(fig) -> list[str]:
    """Texts that reach over the picture's edge by more than a point."""
    fig.canvas.draw()
    edge, point = fig.bbox, fig.dpi / 72
    reached = []
    for text in fig.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            over = max(edge.x0 - box.x0, box.x1 - edge.x1, edge.y0 - box.y0, box.y1 - edge.y1)
            if over > point and box.overlaps(edge):
                reached.append(text.get_text())
    return reached
