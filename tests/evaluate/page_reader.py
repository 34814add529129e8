"""Reads a page back: every tag is closed in its turn, and the numbers stand where they were written."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Reader(HTMLParser):
    """Tables as lists of rows of (text, attributes), figures' marks as attributes, texts and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.words, self.marks = [], [], [], []
        self.tables, self.captions, self.tiles, self.figures = {}, [], {}, {}
        self._table = self._cell = self._figure = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("src", "href", "srcset", "action") if name in attributes]
        if tag == "table":
            self._table = self.tables.setdefault(attributes["aria-label"], [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._cell = ["", attributes]
            self._table[-1].append(self._cell)
        elif tag == "svg":
            self._figure = self.figures.setdefault(attributes["aria-label"], [])
        elif tag in ("g", "circle") and self._figure is not None:
            self._figure.append(attributes)
        elif tag == "dd" and "data-key" in attributes:
            self.tiles[attributes["data-key"]] = attributes["data-value"]
        elif tag == "figure" and "data-key" in attributes:
            self.captions.append([attributes, {}])
        elif tag == "b" and "data-number" in attributes:
            self.captions[-1][1][attributes["data-number"]] = float(attributes["data-value"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Closes itself."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self._cell = None
        if tag == "svg":
            self._figure = None

    def handle_data(self, data):
        self.words.append(data)
        if self._cell is not None and self.open[-1] != "small":
            self._cell[0] += data

    def cells(self, table):
        """{(row's name, column's head): (text, attributes)}."""
        heads, *rows = self.tables[table]
        return {
            (row[0][0], head[0]): tuple(cell) for row in rows for head, cell in zip(heads[1:], row[1:], strict=True)
        }

    def value(self, table, row, head):
        return float(self.cells(table)[row, head][1]["data-value"])
