"""Plain tables, on the terminal and in a file at once."""

import statistics


class Report:
    """Prints every line, and keeps it."""

    def __init__(self, path):
        self.path = path
        self.lines = []

    def say(self, text=""):
        print(text, flush=True)
        self.lines.append(text)
        self.path.write_text("\n".join(self.lines) + "\n")

    def title(self, text):
        self.say()
        self.say(f"== {text}")

    def table(self, head, rows):
        for line in aligned(head, rows):
            self.say(line)


def aligned(head, rows):
    """The first column to the left, the others to the right."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for number, row in enumerate(cells):
        first, rest = row[0].ljust(widths[0]), [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        yield "  ".join([first, *rest]).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)


def seconds(value):
    return f"{value:.2f} s"


def spread(values, show=seconds):
    """Median, and the range it comes from."""
    if not values:
        return "-"
    return f"{show(statistics.median(values))} ({show(min(values))} - {show(max(values))})"


def ratio(ours, theirs):
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}" if ours and theirs else "-"
