"""Object proposals by selective search (Uijlings, van de Sande, Gevers, Smeulders, IJCV 104, 2013).

>>> from pipelines.selective import selective_search
>>> boxes = selective_search(pixels)            # (N, 4) float32, best first, at most 2,000

`graph` cuts a picture into small regions, `features` describes them, `grouping` joins the two most alike until one is
left, `search` puts several such hierarchies together. Decision 13 says why the segmentation is our own.
"""

from pipelines.selective.search import FAST, FINE, QUALITY, SINGLE, STRATEGIES, Strategy, selective_search

__all__ = ["FAST", "FINE", "QUALITY", "SINGLE", "STRATEGIES", "Strategy", "selective_search"]
