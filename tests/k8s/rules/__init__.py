"""What must hold for the objects of every overlay.

Each rule is a function that yields a sentence for each breach. ``test_rules.py`` breaks every one
of them on purpose.
"""

from collections.abc import Callable, Iterator
from typing import Final

from tests.k8s.cluster import Cluster
from tests.k8s.rules import edge, network, pods, references, running, scaling, settings

Rule = Callable[[Cluster], Iterator[str]]

RULES: Final[tuple[Rule, ...]] = (
    *pods.RULES,
    *running.RULES,
    *references.RULES,
    *settings.RULES,
    *network.RULES,
    *scaling.RULES,
    *edge.RULES,
)
