"""What the notebooks use: source code on the page, pictures of graphs, and exercises."""
