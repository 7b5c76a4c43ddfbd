"""Takes what people sent who were erased out of the lots: the worker's and those of replays."""

import asyncio
from typing import Final

from sluice.logs import get_logger
from sluice.settings import Settings
from worker.core.erasures import Erased
from worker.lot import Lot, LotError
from worker.replay_files import ReplayFiles

RUNS: Final = "runs"
"""The folder of replays that are runs: what one left that died is not needed (``ReplayFiles``)."""

log: Final = get_logger(__name__)


async def forget_in_lot(lot: Lot, known: Erased) -> int:
    """Take them out of an open lot; return how many they were.

    Raises:
        LotError: It cannot be read or written now.
    """
    gone = 0
    for tenant in known.tenants.keys() & set(lot.tenants()):
        before = known.tenants[tenant].cut_off
        gone += await lot.forget(tenant, before=before, is_erased=known.covers)
    return gone


async def forget_in_replays(settings: Settings, known: Erased) -> int:
    """Take them out of the lots of replays that nobody runs now; return how many they were.

    A replay that is running leaves them out by itself. One that was killed or waits for somebody
    to start it again may wait for ever.
    """
    folder = settings.replays_path
    await asyncio.to_thread(ReplayFiles.throw_away, folder / RUNS)
    gone = 0
    now = asyncio.Event()
    now.set()
    for path in await asyncio.to_thread(lambda: sorted(folder.glob("*.sqlite"))):
        lot = Lot(path, max_bytes=settings.parked_max_bytes)
        try:
            if await lot.open(now):
                gone += await forget_in_lot(lot, known)
                for tenant, holds in lot.holds.items():
                    await lot.let_go(tenant, list(holds))  # these name who waited
        except (LotError, OSError) as error:
            log.warning("Erased events cannot be taken out of a replay", detail=str(error))
        finally:
            await lot.close()
    return gone
