"""Every rule of ``tests.k8s.rules``, broken on purpose: what is changed, and what is said then."""

from typing import Final

from tests.k8s.breaches import edge, network, pods, references, running, scaling, settings
from tests.k8s.breaches.change import Breaches

BREACHES: Final[Breaches] = {
    **pods.BREACHES,
    **running.BREACHES,
    **references.BREACHES,
    **settings.BREACHES,
    **network.BREACHES,
    **scaling.BREACHES,
    **edge.BREACHES,
}
