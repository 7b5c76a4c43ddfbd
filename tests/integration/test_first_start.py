"""The first moment of the first start."""

from pathlib import Path

from tests.support.segops import HEALTH, Segops
from tests.support.stack import running_stack


async def test_first_start_serves_reads_when_it_says_ready(tmp_path: Path) -> None:
    """The tables are there at ``ready``: nobody's first look at stats is a 503."""
    with running_stack(tmp_path / "data") as owned:
        stack = owned.stack
        warehouse_url = (Path(stack.data_dir) / "warehouse.url").read_text().strip()
        token = stack.read_token("demo")
        async with Segops(
            stack.url, warehouse_url, slug="demo", api_key="", read_token=token
        ) as demo:
            assert (await demo.stats())["total_events"] == 0
            assert (await demo.errors()) == {"count": 0, "results": []}
            assert (await demo.users()) == {}
            assert (await demo.rows()) == []
            assert (await demo.ask("GET", HEALTH)).status == 200
