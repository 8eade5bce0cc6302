"""Points, rectangles and polygons, in pixels of the upright picture: x to the right, y down."""

XY = tuple[float, float]
Bounds = tuple[float, float, float, float]
Polygon = tuple[XY, ...]
