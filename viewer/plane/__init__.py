"""The plane: millions of points as a picture, a grid and a figure."""
