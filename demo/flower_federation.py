"""The same federation on Flower: a SuperLink for the director, a SuperNode for each envoy."""

from __future__ import annotations

from demo.errors import DemoError
from demo.federation import Federation
from superb_node.flower.cli import SUPERLINK, FlowerCli, FlowerRefused


class FlowerFederation(Federation):
    """A SuperLink and its SuperNodes, from the same folders and with the same configuration."""

    _cli: FlowerCli | None = None

    def _director_command(self) -> list[str]:
        return ["bash", "start_superlink.sh"]

    def _envoy_command(self, name: str) -> list[str]:
        return ["bash", "start_supernode.sh", name]

    def _missing(self, names: set[str]) -> str:
        """Say how many are not there yet: a SuperLink knows SuperNodes by numbers."""
        try:
            self._cli = self._cli or FlowerCli(self.director_host, self.director_port)
            nodes = self._cli("supernode", "list", SUPERLINK)["nodes"]
        except FlowerRefused as refused:
            if not refused.installed:
                raise DemoError(str(refused)) from refused
            return "the SuperLink"
        online = sum(node["status"] == "online" for node in nodes)
        return "" if online >= len(names) else f"{len(names) - online} of {len(names)} SuperNodes"
