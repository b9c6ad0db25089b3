"""What the page, a saved file and a notebook draw: looks as plain numbers, and the documents that hold them."""
