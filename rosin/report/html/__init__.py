"""Pages of HTML that need nothing else: charts are SVG in the page, with a table beside each."""
