"""verl's handle of vLLM's server on a CPU, in the driver."""

from __future__ import annotations

import ray
from verl.workers.rollout.replica import RolloutReplica

from egpo.verl_plugin.cpu.server import SERVER


class CpuReplica(RolloutReplica):
    """The one server of a training on a CPU, started by egpo.verl_plugin.cpu.server.start_server."""

    async def launch_servers(self) -> None:
        server = ray.get_actor(SERVER)
        await server.launched.remote()
        address, port = await server.get_server_address.remote()
        self.servers, self._server_handle, self._server_address = [server], server, f"{address}:{port}"
